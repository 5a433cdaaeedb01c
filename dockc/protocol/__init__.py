"""BuildKit's protocol in our terms: what a message says as an event, an error or files, and the other way round.

Client, daemon and gateway share it. It stands on `rpc` and on the types of the rooms that it translates for.
"""
