"""Before traffic moves to the gateway: is everything in place (check), and does it answer as the server does (compare)?

Tools of the command line. They ask servers from outside, as clients do, and import nothing of a request's path but
pure parts. Keys in Redis: `<prefix>check:*`, for the moment that a test of the rights takes.
"""
