"""Submitted before? A POST with an Idempotency-Key runs once, and whoever sends it again is told what became of it.

draft-ietf-httpapi-idempotency-key-header. The key is claimed in Redis, at `gateway:idempotency:<digest>`, before
anything is forwarded; the backend's answer is put there before it reaches the client. What may have run is never run
again. May import exchange, respond, errors, store and protocol.
"""
