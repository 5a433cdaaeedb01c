"""From LLB and image histories back to a Dockerfile."""
