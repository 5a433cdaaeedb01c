"""The river as a service: what is asked for is read, compiled, solved and exported; command line, library and daemon
share it.
"""
