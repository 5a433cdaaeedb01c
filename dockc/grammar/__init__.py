"""dockc.grammar"""
