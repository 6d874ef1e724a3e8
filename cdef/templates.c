/* A template in one piece, for the Python side (abi/templates.py): to ask each CK_ATTRIBUTE for its members from there
 * takes longer than what is then done with them. */

static int is_among(CK_ULONG type, const CK_ULONG *types, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++)
        if (types[i] == type)
            return 1;
    return 0;
}

/* Put down type and length of each attribute, then all values, in the template's order. 0: something is missing, too
 * long for the room, or a template itself, and what it leads to was left alone; Python then reads step by step, and
 * says what is wrong. */
static CK_ULONG template_flat(const void *attributes, CK_ULONG count, const CK_ULONG *nested, CK_ULONG nested_count,
                              CK_BYTE *out, CK_ULONG room)
{
    const CK_BYTE *next = attributes;
    CK_BYTE *head = out;
    CK_ULONG used;

    if (!attributes || count > room / (2 * sizeof(CK_ULONG)))
        return 0;
    used = count * 2 * sizeof(CK_ULONG);
    for (CK_ULONG i = 0; i < count; i++, next += sizeof(CK_ATTRIBUTE), head += 2 * sizeof(CK_ULONG)) {
        CK_ATTRIBUTE one;

        memcpy(&one, next, sizeof one); /* callers pack structures as they like */
        if (one.ulValueLen > room - used || (one.ulValueLen && !one.pValue) ||
            is_among(one.type, nested, nested_count)) {
            explicit_bzero(out, used);
            return 0;
        }
        memcpy(head, &one.type, sizeof one.type);
        memcpy(head + sizeof one.type, &one.ulValueLen, sizeof one.ulValueLen);
        if (one.ulValueLen)
            memcpy(out + used, one.pValue, one.ulValueLen);
        used += one.ulValueLen;
    }
    return used;
}
