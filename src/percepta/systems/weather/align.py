"""placeholder"""
def fused(*a):
    raise NotImplementedError
