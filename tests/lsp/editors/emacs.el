;; Loads $SETTINGS, opens $FILE, waits for diagnostics, prints line and text of each.
(require 'dockerfile-mode)
(require 'eglot)
(require 'json)
(setq eglot-sync-connect 60 eglot-autoreconnect nil)
(load (getenv "SETTINGS"))
(find-file (getenv "FILE"))
(run-hooks 'post-command-hook) ; by this the command loop, which a batch has not, starts what `eglot-ensure' asks for
(let ((end (+ (float-time) 60)))
  (while (and (< (float-time) end) (not (flymake-diagnostics)))
    (accept-process-output nil 0.1)))
(princ (json-encode
        (vconcat (mapcar (lambda (one) (vector (1- (line-number-at-pos (flymake-diagnostic-beg one))) (flymake-diagnostic-text one)))
                         (flymake-diagnostics)))))
(eglot-shutdown (eglot-current-server))
