"""What documents say of key managers: one row a product, with its sources.

None, or nothing, is what no document tells. A row is a starting guess about a server, and what the trial appliance
imitates; what a server was seen to do counts more. Nobody has compared a row with a real unit, PyKMIP's apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrhsm_p11.kmip.vocabulary import (
    BlockCipherMode,
    KeyFormatType,
    ObjectType,
    Operation,
    PaddingMethod,
    Version,
)

# What the Data Fabric manual lists as the whole of what a server must offer.
MINIMUM = frozenset(
    {
        Operation.ACTIVATE,
        Operation.CREATE,
        Operation.DESTROY,
        Operation.DISCOVER_VERSIONS,
        Operation.GET,
        Operation.LOCATE,
        Operation.REKEY,
        Operation.REGISTER,
        Operation.REVOKE,
    }
)
_ATTRIBUTES = {Operation.ADD_ATTRIBUTE, Operation.MODIFY_ATTRIBUTE, Operation.DELETE_ATTRIBUTE}
_READING = {Operation.GET_ATTRIBUTES, Operation.GET_ATTRIBUTE_LIST, Operation.QUERY}
_COMPUTING = {Operation.ENCRYPT, Operation.DECRYPT, Operation.SIGN, Operation.SIGNATURE_VERIFY, Operation.MAC}
_1_X: tuple[Version, ...] = ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4))

_MANUAL = "https://docs.ezmeral.hpe.com/datafabric-customer-managed"
_VERSIONS = f"{_MANUAL}/80/SecurityGuide/KMIP_Supported_Versions.html"
_VALIDATED = f"{_MANUAL}/77/SecurityGuide/KMIP_Supported_Functions.html"
_THALES_ATTRIBUTES = (
    "https://thalesdocs.com/ctp/con/cadp/cadp-java/latest/admin/cadp-for-java-advance/kmip/kmip-attributes/"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One product."""

    title: str
    sources: tuple[str, ...]
    words: tuple[str, ...] = ()  # one of them, in any case, is in its Vendor Identification
    answers: str = ""  # that identification where a document quotes it; else `words` are of the product's name
    versions: tuple[Version, ...] = ()
    operations: frozenset[Operation] = MINIMUM  # documented; `complete`: it has no others
    complete: bool = False
    objects: tuple[ObjectType, ...] = ()  # the only types kept
    batches: bool | None = None  # messages of several operations
    activation_date: bool | None = None  # taken by Create and Register; False: Activate alone makes active
    revoke_first: bool | None = None  # an active object is revoked before it is destroyed
    reads_active_only: bool | None = None  # Get refuses keys in other states
    keeps_destroyed: bool | None = None  # the attributes of what was destroyed can still be located
    information: bool | None = None  # keeps Application Specific Information
    custom: bool | None = None  # keeps x- attributes
    unique_names: bool | None = None
    formats: tuple[KeyFormatType, ...] = ()  # the only ones registered
    wrap_methods: tuple[BlockCipherMode | PaddingMethod, ...] = ()  # of Get with a Key Wrapping Specification
    username: bool | None = None  # may demand a user name and password beside the certificate
    username_of_certificate: bool | None = None  # and hangs up on a name that is not the certificate's

    def offers(self, operation: Operation) -> bool | None:
        """Tell whether the product has an operation, None where no document says so."""
        return True if operation in self.operations else False if self.complete else None


DEFAULT = "default"
ROWS: dict[str, Profile] = {
    DEFAULT: Profile(
        title="any other",
        sources=("https://docs.oasis-open.org/kmip/spec/v1.4/os/kmip-spec-v1.4-os.html",),
    ),
    "eskm": Profile(
        title="Utimaco ESKM",
        sources=(_VERSIONS, _VALIDATED),
        words=("utimaco", "eskm", "enterprise secure key manager"),
        versions=_1_X,
    ),
    "keysecure": Profile(
        title="SafeNet KeySecure",
        sources=(
            _VERSIONS,
            _VALIDATED,
            _THALES_ATTRIBUTES,
            "Quantum Scalar i6000 with SafeNet KeySecure, p. 20",
            "https://github.com/OpenKMIP/PyKMIP/issues/653",
        ),
        words=("keysecure",),
        versions=((1, 1), (1, 2), (1, 3)),
        operations=MINIMUM | _ATTRIBUTES | {Operation.GET_ATTRIBUTES},
        information=True,
        custom=True,
        unique_names=True,  # one name an object, by which other interfaces of the product know it
        username=True,
        username_of_certificate=True,
    ),
    "ciphertrust": Profile(
        title="CipherTrust Manager",
        sources=(_THALES_ATTRIBUTES, "https://thalesdocs.com/ctp/cm/latest/reference/kmip-ref/"),
        words=("ciphertrust",),
        operations=MINIMUM | _ATTRIBUTES | {Operation.GET_ATTRIBUTES},
        keeps_destroyed=True,
        information=True,
        custom=True,
        unique_names=True,
    ),
    "dsm": Profile(
        title="Vormetric DSM",
        sources=(
            _VERSIONS,
            _VALIDATED,
            "https://github.com/ibm-s390-linux/s390-tools zkey/kmip/profiles/IBM-GDE.profile (of the same make)",
        ),
        words=("vormetric",),
        answers="Vormetric",
        versions=(*_1_X, (2, 1)),
        operations=MINIMUM | {Operation.QUERY},
        custom=True,
        wrap_methods=(PaddingMethod.OAEP,),
    ),
    "vault": Profile(
        title="HashiCorp Vault Enterprise",
        sources=(
            _VERSIONS,
            "https://developer.hashicorp.com/vault/docs/secrets/kmip-profiles",
            "https://developer.hashicorp.com/vault/docs/enterprise/pkcs11-provider",
            "https://developer.hashicorp.com/vault/docs/secrets/kmip",
        ),
        words=("hashicorp",),
        versions=((1, 4),),
        operations=MINIMUM
        | _ATTRIBUTES
        | _READING
        | _COMPUTING
        | {Operation.CREATE_KEY_PAIR, Operation.REKEY_KEY_PAIR, Operation.MAC_VERIFY, Operation.RNG_RETRIEVE},
        objects=(ObjectType.SYMMETRIC_KEY, ObjectType.PUBLIC_KEY, ObjectType.PRIVATE_KEY),
        batches=True,
        activation_date=True,
        revoke_first=True,
        information=True,  # Locate searches by it
        formats=(KeyFormatType.RAW, KeyFormatType.PKCS_1, KeyFormatType.PKCS_8, KeyFormatType.X_509),
        username=False,
    ),
    "pykmip": Profile(
        title="PyKMIP",
        sources=("https://github.com/OpenKMIP/PyKMIP kmip/services/server, release 0.11.0, read and tried",),
        words=("pykmip",),
        answers="PyKMIP 0.11.0 Software Server",
        versions=(*_1_X, (2, 0)),
        operations=(MINIMUM - {Operation.REKEY})
        | _READING
        | _COMPUTING
        | {
            Operation.CREATE_KEY_PAIR,
            Operation.DERIVE_KEY,
            Operation.MODIFY_ATTRIBUTE,
            Operation.DELETE_ATTRIBUTE,
        },
        complete=True,
        batches=True,
        activation_date=False,
        revoke_first=True,
        reads_active_only=False,
        keeps_destroyed=False,
        information=True,
        custom=False,
        unique_names=False,
        wrap_methods=(BlockCipherMode.NIST_KEY_WRAP,),
        username=False,
    ),
    "cosmian": Profile(
        title="Cosmian KMS",
        sources=(
            "https://github.com/Cosmian/kms documentation/docs/kmip_support/support.md, _get.md, _destroy.md",
            "https://github.com/Cosmian/kms crate/server/src/core/operations/query.rs",
            "https://github.com/Cosmian/kms/pull/998",
        ),
        words=("cosmian", "eviden"),
        answers="Cosmian",
        versions=(*_1_X, (2, 0), (2, 1)),
        operations=MINIMUM
        | _ATTRIBUTES
        | _READING
        | _COMPUTING
        | {
            Operation.CHECK,
            Operation.CREATE_KEY_PAIR,
            Operation.DERIVE_KEY,
            Operation.HASH,
            Operation.MAC_VERIFY,
            Operation.REKEY_KEY_PAIR,
            Operation.RNG_RETRIEVE,
        },
        batches=True,
        activation_date=True,
        revoke_first=True,
        reads_active_only=True,
        keeps_destroyed=True,
        information=True,
        wrap_methods=(BlockCipherMode.NIST_KEY_WRAP,),
        username=False,
    ),
}


def recognised(vendor: str) -> str:
    """Return the name of the row whose product calls itself so, DEFAULT where none does."""
    told = vendor.lower()
    return next((name for name, row in ROWS.items() if any(word in told for word in row.words)), DEFAULT)
