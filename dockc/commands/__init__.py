"""One file a command: what was typed to a request, the call, what is shown of what came back."""
