"""placeholder"""
class Views:
    def __init__(self, *a): raise NotImplementedError
