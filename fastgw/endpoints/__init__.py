"""The gateway's own pages under /gateway/. They read state and never stand on the request path."""
