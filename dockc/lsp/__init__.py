"""The language server: `features` answers questions about positions, `server` speaks the protocol. Needs the extra
`lsp`.
"""
