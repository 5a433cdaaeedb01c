"""dockc.console"""
