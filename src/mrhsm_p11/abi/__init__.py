"""The C boundary: the only package that knows cffi. It is entered from the C stubs of libmrhsm_p11.so."""
