"""dockc.llb"""
