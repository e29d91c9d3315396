"""How often may this client ask? One round trip to Redis counts the request and brings what the cache has for it.

May import exchange, respond, store. Writes gateway:ratelimit:*, and gateway:lease:cache:* on behalf of the cache.
"""
