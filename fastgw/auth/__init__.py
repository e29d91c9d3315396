"""Who is it? Credentials, who they belong to, and what is remembered of them. Writes `gateway:session:<digest>`."""
