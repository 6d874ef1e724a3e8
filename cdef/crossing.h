/* The table of what leads where, as abi/isolation.py fills it in and both sides of the isolation read it.
 *
 * All of it is CK_ULONGs, so that the isolated process can send it in one piece; cffi reads this file too. */
#define ANY_LENGTH 0xFFFFFFFFFFFFFFFFUL
enum crossing_step_kind {
    STEP_BYTES,             /* pointer and length */
    STEP_FIXED,             /* `size` bytes of input */
    STEP_FILLED,            /* `size` bytes that are written, or left alone */
    STEP_NAME,              /* text that a zero byte ends, at most `size` bytes */
    STEP_MECHANISM,
    STEP_MESSAGE_MECHANISM, /* a mechanism whose parameter is a message's */
    STEP_SIZED_MECHANISM,   /* a mechanism of whose parameter only the size counts */
    STEP_MESSAGE,           /* a message's parameter and its length */
    STEP_TEMPLATE,
    STEP_WANTED,            /* attributes whose values are asked for */
    STEP_ROOM,              /* a buffer, and a pointer to its length in units of `size` bytes */
    STEP_FILL,              /* a buffer that is filled to its length */
    STEP_FOUND              /* an array, its size in units of `size` bytes, and a pointer to the number filled */
};
enum crossing_member_kind {
    MEMBER_BYTES,      /* a pointer to input */
    MEMBER_PLACE,      /* a pointer to what is read and written */
    MEMBER_NUMBER,     /* `length` bytes in the structure itself that are written */
    MEMBER_STRUCTURES, /* a pointer to `length` structures of `layout` */
    MEMBER_TEMPLATE    /* a pointer to `length` attributes */
};
enum crossing_length_kind {
    LENGTH_IS,             /* `length` itself */
    LENGTH_AT,             /* stands in the structure, at offset `length` */
    LENGTH_BITS,           /* the same, in bits */
    LENGTH_SOMETIMES_BITS, /* the same, in bits if it is one of three numbers */
    LENGTH_OR_POINTER,     /* the same, or a pointer to it */
    LENGTH_POINTED_TO,     /* a pointer to it stands there */
    LENGTH_BITS_OUTSIDE    /* stands in the structure that led here, in bits */
};

struct crossing_function { CK_ULONG first; CK_ULONG count; };
struct crossing_step { CK_ULONG kind; CK_ULONG index; CK_ULONG size; };
struct crossing_layout { CK_ULONG size; CK_ULONG first; CK_ULONG count; };
struct crossing_member { CK_ULONG kind; CK_ULONG offset; CK_ULONG length_kind; CK_ULONG length; CK_ULONG layout; };
struct crossing_mechanism {
    CK_ULONG type;
    CK_ULONG bare;
    CK_ULONG layout_count;
    CK_ULONG layouts[3];
    CK_ULONG message_count; /* 0 or 1 */
    CK_ULONG message;
};

struct crossing {
    CK_ULONG nested_count;
    CK_ULONG message_count;
    CK_ULONG mechanism_count;
    CK_ULONG nested[16];   /* types of attributes that are templates */
    CK_ULONG messages[8];  /* layouts of messages' parameters: their sizes differ */
    struct crossing_function functions[128];
    struct crossing_step steps[512];
    struct crossing_layout layouts[64];
    struct crossing_member members[256];
    struct crossing_mechanism mechanisms[320];
};
