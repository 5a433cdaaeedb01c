"""dockc.oci"""
