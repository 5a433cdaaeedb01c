"""dockc.compiler"""
