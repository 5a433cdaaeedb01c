"""A client of builders that speak BuildKit's protocol: BuildKit's daemon, and dockc's own.

client/address.py    where a builder is, and the way there
client/control.py    what is asked of it: builds, workers, disk usage, history
client/session.py    what a build lends it: files, credentials, secrets, agents, places for results
client/builders.py   builders by name, and their nodes
client/nodes.py      which node builds what
client/spread.py     a build over several nodes
client/joining.py    one result of what they made
"""
