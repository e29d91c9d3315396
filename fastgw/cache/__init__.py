"""Known already? Responses of the backend that may serve more than one request (RFC 9111).

The room may import exchange, respond and store; its pure half (directives, freshness, policy, entry, key, conditional,
status) imports protocol only, takes the time as an argument and does no I/O.

Writes `<prefix>cache:{...}` (entries and markers, JSON), `<prefix>cache:keys` (the set of their names) and
`<prefix>lease:cache:{...}` (who is asking the backend); store/keys.py spells them.
"""
