"""Talking to registries: hosts, credentials, transport, pulls and pushes.

`client.Client` is the face of the room: it speaks the distribution API for one image name at a time.
`fetch.Fetcher` brings blobs into the content store, `push.push` sends an image's tree.
"""
