"""fastgw: a gateway in front of a distributed GPU-inference platform."""

__version__ = "0.1.0"
