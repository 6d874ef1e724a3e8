#!/bin/sh
# Unwrap the CLDB key with pkcs11-tool and print its SHA-256: unwrap_cldb.sh MODULE TOKEN_LABEL [PIN]
# Without a PIN the token's protected authentication path is used: the library reads the PIN file, if this user may.
set -eu
module=$1 token=$2 pin=${3-}

tool() {
    pkcs11-tool --module "$module" --token-label "$token" --login ${pin:+--pin "$pin"} "$@"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pkcs11-tool picks the key for --decrypt by --id; it takes no notice of --label there.
kek=$(tool --list-objects --type secrkey 2> /dev/null |
    awk '$1 == "label:" { core = $2 ~ /\/core-kek$/ } $1 == "ID:" && core { print $2; exit }')
[ -n "$kek" ] || { echo "no Core KEK on token $token" >&2; exit 1; }

# The blob is a 16-byte IV and the CLDB key under AES-CBC with PKCS #7 padding.
tool --read-object --type data --application-label mrhsm --label cldb.key --output-file "$work/blob" 2> /dev/null
iv=$(head -c 16 "$work/blob" | od -A n -t x1 | tr -d ' \n')
tail -c +17 "$work/blob" > "$work/wrapped"
tool --decrypt --mechanism AES-CBC-PAD --iv "$iv" --id "$kek" --input-file "$work/wrapped" \
    --output-file "$work/key" > "$work/messages" 2>&1 || { cat "$work/messages" >&2; exit 1; }
sha256sum < "$work/key" | cut -d ' ' -f 1 | tr a-f A-F
