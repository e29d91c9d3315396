"""Which GPU workers are there? As Redis shows them: read in the background, by one process for the whole fleet.

Reads worker:*, which others write; writes <prefix>workers and <prefix>lease:workers. May import `store`, and of the
path what an answer is made of.
"""
