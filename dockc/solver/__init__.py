"""dockc.solver"""
