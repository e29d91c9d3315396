"""An HTTP/1.1 client over pooled connections. It knows nothing of gateways and takes values, never settings."""
