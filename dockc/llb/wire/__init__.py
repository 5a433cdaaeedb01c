"""The codec: LLB messages from and to bytes."""
