/* What Python and C tell each other about the data path: operations that C serves from beginning to end, without the
 * GIL, once Python has granted that a key be used so. Python decides, C computes; docs/adr/0025 says how they share.
 *
 * A session's mutex is taken before the grants', and neither is held while anything waits for the GIL. */
#ifndef MRHSM_DATAPATH_H
#define MRHSM_DATAPATH_H

#include "native.h"

/* What a call answers where Python is to serve it: no CKR. */
#define PASS (~1UL)

/* The families of operations that C may serve. */
enum family {
    FAMILY_ENCRYPT,
    FAMILY_DECRYPT,
    FAMILY_DIGEST,
    FAMILY_SIGN,
    FAMILY_VERIFY,
    FAMILY_COUNT,
    FAMILY_WRAP = FAMILY_COUNT, /* no operation, one call: the wrapping key, */
    FAMILY_WRAPPED,             /* and what it wraps */
    FAMILY_UNWRAP               /* no operation either: what C_UnwrapKey decrypts with */
};

/* A call of an operation, after C_<X>Init. */
enum step { STEP_ONCE, STEP_UPDATE, STEP_FINAL };

/* How input becomes output. */
enum method {
    METHOD_BLOCKS, /* whole blocks, each as it is complete */
    METHOD_PADDED, /* the last one filled up as PKCS #7 says */
    METHOD_STREAM, /* a byte for a byte */
    METHOD_AEAD,   /* a byte for a byte, then a tag; nothing is given out before the tag is right */
    METHOD_DIGEST,
    METHOD_HMAC,
    METHOD_CMAC,
    METHOD_KEYWRAP,        /* RFC 3394 */
    METHOD_KEYWRAP_PADDED, /* the same, filled up as PKCS #7 says */
    METHOD_KEYWRAP_KWP,    /* RFC 5649 */
    /* those of key pairs; all that follow */
    METHOD_RSA_PKCS,
    METHOD_RSA_PSS,
    METHOD_RSA_OAEP,
    METHOD_ECDSA,
    METHOD_EDDSA,
    METHOD_COUNT
};

/* What a mechanism's parameter is. */
enum shape {
    SHAPE_NONE,
    SHAPE_VECTOR,  /* one block */
    SHAPE_COUNTER, /* CK_AES_CTR_PARAMS */
    SHAPE_GCM,     /* CK_GCM_PARAMS, of either length */
    SHAPE_LENGTH,  /* CK_MAC_GENERAL_PARAMS */
    SHAPE_PSS,     /* CK_RSA_PKCS_PSS_PARAMS */
    SHAPE_OAEP     /* CK_RSA_PKCS_OAEP_PARAMS, without label */
};

enum { WRAPPED_BYTES = 160 }; /* the longest that a key becomes which C wraps, and that it unwraps */

/* A grant: what may be done with which key, how, and for how long. */
struct terms {
    CK_ULONG token; /* whose sessions may use it: a number that no other token of this process has */
    CK_OBJECT_HANDLE key;
    CK_MECHANISM_TYPE mechanism;
    int family;
    int method;
    int shape;
    CK_ULONG size; /* of the whole digest or MAC, of what PSS signs, of what RSA's other paddings add; in bytes */
    CK_ULONG mark; /* of the counter that ends it */
    CK_ULONG lease_ms;
    char algorithm[24]; /* as OpenSSL names it */
    CK_BYTE spared[2][16]; /* initialisation vectors that C does not decrypt with; zeros: none */

    /* of key pairs: */
    char mask[24]; /* the hash of MGF1, as OpenSSL names it */
    CK_ULONG salt_bytes;
    CK_BYTE asked[24]; /* the parameter that all this was made of: with another it is another grant */
    int asked_bytes;
    int hashes;   /* the message, with `algorithm`: else that is what the caller hashed with */
    int one_part; /* no C_<X>Update */
};

/* What a grant comes to. */
enum granted { GRANTED, GRANT_OVERTAKEN, GRANT_UNFIT, GRANT_WITHOUT_OPENSSL, GRANT_WITHOUT_LOCKED_MEMORY };

/* A mechanism's parameter, whatever structure it came in. */
struct parameter {
    const CK_BYTE *vector;
    CK_ULONG vector_bytes;
    const CK_BYTE *beside; /* data that is authenticated and not encrypted */
    CK_ULONG beside_bytes;
    CK_ULONG number; /* bits of a counter or tag, bytes of a MAC */
};

/* A key in a cipher, digest, MAC or signature, and the operation that goes on with it. */
struct context;

#endif
