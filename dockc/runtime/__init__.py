"""dockc.runtime"""
