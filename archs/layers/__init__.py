"""Parts that two or more architectures use."""
