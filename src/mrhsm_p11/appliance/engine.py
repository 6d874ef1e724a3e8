"""PyKMIP's engine as a vendor's product might be: Re-key, dates, custom attributes, and the limits of Options."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from kmip.core import attributes, enums, exceptions, policy
from kmip.core.messages import contents, payloads
from kmip.pie import objects, sqltypes
from kmip.services.server import engine
from sqlalchemy import event

from mrhsm_p11.appliance import codec, kept, locate, rekey, translation
from mrhsm_p11.appliance.options import NINE_OPERATIONS, Options

Operation = enums.Operation
State = enums.State

# Identifiers in responses that name a new object.
NEW_IDENTIFIERS = {
    Operation.CREATE: ("unique_identifier",),
    Operation.CREATE_KEY_PAIR: ("private_key_unique_identifier", "public_key_unique_identifier"),
    Operation.DERIVE_KEY: ("unique_identifier",),
    Operation.REGISTER: ("unique_identifier",),
}
QUERIED_TOO = (
    Operation.REKEY,
    Operation.ADD_ATTRIBUTE,
    Operation.MODIFY_ATTRIBUTE,
    Operation.DELETE_ATTRIBUTE,
)
_log = logging.getLogger("mrhsm-appliance")


class _Said(threading.local):
    """How the message that this thread serves was translated."""

    translation: translation.Translation


class ApplianceEngine(engine.KmipEngine):  # type: ignore[misc]  # PyKMIP is untyped
    """Identifiers are UUIDs; the rest is PyKMIP's unless a method here says otherwise."""

    def __init__(self, options: Options, store: str, *, durable: bool) -> None:
        super().__init__(policies=dict(policy.policies), database_path=store)
        self._options = options
        self._id_placeholder: str | None = None
        self._said = _Said()
        self._spoken = [(int(version[0]), int(version[2:])) for version in options.versions]
        self._protocol_versions = [contents.ProtocolVersion(*version) for version in sorted(self._spoken, reverse=True)]
        for index in locate.INDEXES:
            index.create(self._data_store, checkfirst=True)
        if not durable:
            event.listen(self._data_store, "connect", _do_not_wait_for_the_disk)
            self._data_store.dispose()
        self._own: dict[Any, Callable[[Any], Any]] = {
            Operation.ADD_ATTRIBUTE: self._process_add_attribute,
            Operation.REKEY: self._process_rekey,
        }

    def process_request(self, request: Any, credential: Any = None) -> Any:
        operations = ",".join(item.operation.value.name for item in request.batch_items)
        _log.info("%s %s", request.request_header.protocol_version, operations)
        if self._options.refuse_batches and len(request.batch_items) > 1:
            raise exceptions.InvalidMessage("One operation a message, please.")
        with self._lock:
            self._id_placeholder = None  # PyKMIP keeps it from request to request and client to client
            return super().process_request(request, credential)

    def _set_protocol_version(self, protocol_version: Any) -> None:
        translated = self._said.translation.version is not None  # and its version is one that is spoken
        if not translated or protocol_version in self._protocol_versions:
            super()._set_protocol_version(protocol_version)
        self._protocol_version = protocol_version
        self._attribute_policy = kept.AttributePolicy(protocol_version)

    def translation(self) -> translation.Translation:
        """Return what makes a message that PyKMIP cannot read, of KMIP 2 say, one that it can, and its answer too."""
        rules = kept.AttributePolicy(contents.ProtocolVersion(*translation.SPOKEN))
        self._said.translation = translation.Translation(rules.is_attribute_multivalued, self._index_of, self._spoken)
        return self._said.translation

    def _index_of(self, uid: str, name: str, value: bytes) -> int | None:
        """Return which instance of an object's attribute has this value, as a TTLV item tagged Attribute Value."""
        with self._lock, self._data_store_session_factory() as self._data_session:
            uids = self._data_session.query(kept.KeptAttribute.object_uid)
            found = uids.filter_by(name=kept.IDENTIFIER, value=kept.text(uid)).one_or_none()
            if found is None:
                return None
            self._attribute_policy = kept.AttributePolicy(contents.ProtocolVersion(*translation.SPOKEN))
            managed = self._data_session.get(objects.ManagedObject, found[0])
            instances = self._get_attributes_from_managed_object(managed, [name])
            encoded = [kept.encoded(each.attribute_value) for each in instances]
        return encoded.index(value) if value in encoded else None

    def _refuses(self, operation: Any) -> bool:
        nine = self._options.nine and operation.name not in NINE_OPERATIONS
        return nine or operation.name in self._options.refuse_operations

    def _process_operation(self, operation: Any, payload: Any) -> Any:
        if self._refuses(operation):
            raise exceptions.OperationNotSupported(f"{operation.name.title()} operation is not supported.")
        if operation is Operation.REGISTER and payload.object_type.name in self._options.refuse_types:
            raise exceptions.InvalidField(f"The {payload.object_type.name} object type is not supported.")
        if operation is Operation.REGISTER and _format_of(payload.managed_object) in self._options.refuse_formats:
            raise exceptions.KeyFormatTypeNotSupported("The key format type is not supported.")
        response = self._own.get(operation, lambda p: super(ApplianceEngine, self)._process_operation(operation, p))(
            payload
        )
        for field in NEW_IDENTIFIERS.get(operation, ()):
            self._id_placeholder = self._identifier(getattr(response, field))
            setattr(response, field, self._id_placeholder)
        return response

    # Identifiers and access

    def _identifier(self, number: str) -> str:
        managed = self._data_session.get(objects.ManagedObject, int(number))
        return kept.identifier(managed)

    def _get_object_with_access_controls(self, uid: str | None, operation: Any) -> Any:
        uid = uid or self._id_placeholder or ""
        found = (
            self._data_session.query(kept.KeptAttribute.object_uid)
            .filter_by(name=kept.IDENTIFIER, value=kept.text(uid))
            .one_or_none()
        )
        if found is None:
            raise exceptions.ItemNotFound(f"Could not locate object: {uid}")
        managed = super()._get_object_with_access_controls(found[0], operation)
        _age(managed)
        return managed

    # Attributes

    def _keeps(self, name: str) -> bool:
        return name in codec.UNREAD or codec.is_custom(name)

    def _permit_attribute(self, name: str) -> None:
        refused = self._options.refuse_attributes
        if name in refused or ("x-" in refused and codec.is_custom(name)):
            raise exceptions.InvalidField(f"The {name} attribute is unsupported.")

    def _process_template_attribute(self, template_attribute: Any) -> Any:
        for attribute in template_attribute.attributes:
            self._permit_attribute(attribute.attribute_name.value)
        return super()._process_template_attribute(template_attribute)

    def _set_attributes_on_managed_object(self, managed: Any, given: Any) -> None:
        if not kept.instances(managed, kept.IDENTIFIER):
            kept.add(managed, kept.IDENTIFIER, kept.text(str(uuid.uuid4())))
        super()._set_attributes_on_managed_object(managed, given)

    def _set_attribute_on_managed_object(self, managed: Any, attribute: tuple[str, Any]) -> None:
        name, value = attribute
        if not self._keeps(name):
            if name == "Name":
                self._permit_names([v.name_value.value for v in value])
            super()._set_attribute_on_managed_object(managed, attribute)
        elif self._attribute_policy.is_attribute_multivalued(name):
            for one in value:
                kept.add(managed, name, one.encoded)
        else:
            kept.replace(managed, name, value.encoded)

    def _set_attribute_on_managed_object_by_index(self, managed: Any, name: str, value: Any, index: int) -> None:
        if name == "Name" and value.name_value.value != managed.names[index]:
            self._permit_names([value.name_value.value])
        super()._set_attribute_on_managed_object_by_index(managed, name, value, index)

    def _permit_names(self, names: list[str]) -> None:
        same = sqltypes.ManagedObjectName.name.in_(names)
        if self._options.unique_names and self._data_session.query(sqltypes.ManagedObjectName).filter(same).count():
            raise exceptions.InvalidField("Another object has this Name.")

    def _get_attribute_from_managed_object(self, managed: Any, name: str) -> Any:
        if name == kept.IDENTIFIER:
            return kept.identifier(managed)
        return super()._get_attribute_from_managed_object(managed, name)

    def _get_attributes_from_managed_object(self, managed: Any, names: list[str]) -> list[Any]:
        stock = [name for name in names if not self._keeps(name)]
        found: list[Any] = []
        if stock or not names:
            found += super()._get_attributes_from_managed_object(managed, stock)
        for name in [name for name in names if name != kept.IDENTIFIER] if names else kept.names(managed):
            found += kept.attributes(managed, name, indexed=self._attribute_policy.is_attribute_multivalued(name))
        return found

    def _process_add_attribute(self, payload: Any) -> Any:
        managed = self._get_object_with_access_controls(payload.unique_identifier, Operation.ADD_ATTRIBUTE)
        name, value = payload.attribute.attribute_name.value, payload.attribute.attribute_value
        rules = self._attribute_policy
        self._permit_attribute(name)
        if not rules.is_attribute_supported(name) or not rules.is_attribute_modifiable_by_client(name):
            raise exceptions.PermissionDenied(f"The {name} attribute cannot be added by a client.")
        multivalued = rules.is_attribute_multivalued(name)
        if not multivalued and self._get_attributes_from_managed_object(managed, [name]):
            raise exceptions.IllegalOperation(f"The {name} attribute is already set.")
        self._set_attributes_on_managed_object(managed, {name: [value] if multivalued else value})
        self._data_session.commit()
        added = self._get_attributes_from_managed_object(managed, [name])[-1]
        return codec.AddAttributeResponse(unique_identifier=kept.identifier(managed), attribute=added)

    def _process_modify_attribute(self, payload: Any) -> Any:
        if payload.attribute is None or not self._keeps(payload.attribute.attribute_name.value):
            return super()._process_modify_attribute(payload)
        managed = self._get_object_with_access_controls(payload.unique_identifier, Operation.MODIFY_ATTRIBUTE)
        name, index = payload.attribute.attribute_name.value, payload.attribute.attribute_index
        self._permit_attribute(name)
        values = kept.instances(managed, name)
        position = 0 if index is None else index.value
        if position >= len(values):
            raise exceptions.ItemNotFound(f"There is no {name} attribute of this index.")
        values[position] = payload.attribute.attribute_value.encoded
        kept.replace(managed, name, *values)
        self._data_session.commit()
        return payloads.ModifyAttributeResponsePayload(
            unique_identifier=kept.identifier(managed), attribute=payload.attribute
        )

    def _process_delete_attribute(self, payload: Any) -> Any:
        name, position = payload.attribute_name, payload.attribute_index or 0
        if name is None or not self._keeps(name):
            return super()._process_delete_attribute(payload)
        managed = self._get_object_with_access_controls(payload.unique_identifier, Operation.DELETE_ATTRIBUTE)
        before = self._get_attributes_from_managed_object(managed, [name])
        if position >= len(before):
            raise exceptions.ItemNotFound(f"There is no {name} attribute of this index.")
        values = kept.instances(managed, name)
        del values[position]
        kept.replace(managed, name, *values)
        self._data_session.commit()
        return payloads.DeleteAttributeResponsePayload(
            unique_identifier=kept.identifier(managed), attribute=before[position]
        )

    # Life cycle

    def _process_activate(self, payload: Any) -> Any:
        response = super()._process_activate(payload)
        return self._dated(response, kept.ACTIVATION)

    def _process_revoke(self, payload: Any) -> Any:
        response = super()._process_revoke(payload)
        compromised = payload.revocation_reason.revocation_code.value is enums.RevocationReasonCode.KEY_COMPROMISE
        return self._dated(response, "Compromise Date" if compromised else kept.DEACTIVATION)

    def _dated(self, response: Any, name: str) -> Any:
        managed = self._get_object_with_access_controls(response.unique_identifier.value, Operation.GET_ATTRIBUTES)
        kept.replace(managed, name, kept.date(int(time.time())))
        self._data_session.commit()
        return response

    def _process_destroy(self, payload: Any) -> Any:
        uid = payload.unique_identifier.value if payload.unique_identifier else None
        managed = self._get_object_with_access_controls(uid, Operation.DESTROY)
        gone = attributes.UniqueIdentifier(kept.identifier(managed))
        state = getattr(managed, "state", None)
        if state is State.ACTIVE:
            raise exceptions.PermissionDenied("Object is active and cannot be destroyed.")
        if self._options.keep_destroyed and state is not None:
            managed.state = State.DESTROYED_COMPROMISED if state is State.COMPROMISED else State.DESTROYED
            managed.value = b""
            kept.replace(managed, "Destroy Date", kept.date(int(time.time())))
        else:
            self._data_session.delete(managed)
        self._data_session.commit()
        return payloads.DestroyResponsePayload(unique_identifier=gone)

    def _process_get(self, payload: Any) -> Any:
        managed = self._get_object_with_access_controls(payload.unique_identifier, Operation.GET)
        if getattr(managed, "state", None) in {State.DESTROYED, State.DESTROYED_COMPROMISED}:
            raise exceptions.ItemNotFound("Object has been destroyed.")
        if self._options.active_only and getattr(managed, "state", State.ACTIVE) is not State.ACTIVE:
            raise exceptions.IllegalOperation("Object is not active.")
        if self._options.refuse_wrapping and payload.key_wrapping_specification is not None:
            raise exceptions.InvalidField("Key wrapping is not supported.")
        return super()._process_get(payload)

    def _process_rekey(self, payload: Any) -> Any:
        existing = self._get_object_with_access_controls(payload.unique_identifier, Operation.REKEY)
        if existing.object_type is not enums.ObjectType.SYMMETRIC_KEY:
            raise exceptions.InvalidField("Only a symmetric key can be re-keyed.")
        template = payload.template_attribute
        given = self._process_template_attribute(template) if template else {}
        algorithm, length = existing.cryptographic_algorithm, existing.cryptographic_length
        made = self._cryptography_engine.create_symmetric_key(algorithm, length)
        replacement = objects.SymmetricKey(algorithm, length, made["value"])
        replacement.names = []
        replacement.initial_date = int(time.time())
        rekey.take_over(existing, replacement, given)
        self._set_attributes_on_managed_object(replacement, given)
        if payload.offset is not None:
            rekey.move_dates(existing, replacement, replacement.initial_date + payload.offset)
        if self._options.rekey_deactivates and existing.state is State.ACTIVE:
            existing.state = State.DEACTIVATED
        uid = kept.identifier(replacement)
        kept.add(replacement, kept.LINK, kept.link(enums.LinkType.REPLACED_OBJECT_LINK, kept.identifier(existing)))
        kept.add(existing, kept.LINK, kept.link(enums.LinkType.REPLACEMENT_OBJECT_LINK, uid))
        self._data_session.add(replacement)
        self._data_session.commit()
        self._id_placeholder = uid
        return payloads.RekeyResponsePayload(unique_identifier=uid)

    def _process_locate(self, payload: Any) -> Any:
        ignored = self._options.ignore_filters
        wanted = [a for a in payload.attributes or () if a.attribute_name.value not in ignored]
        found = []
        for managed in locate.candidates(self._data_session, wanted):
            _age(managed)
            allowed = self._is_allowed_by_operation_policy(
                managed.operation_policy_name,
                self._client_identity,
                managed._owner,
                managed.object_type,
                Operation.LOCATE,
            )
            if allowed and locate.matches(managed, wanted):
                found.append(managed)
        found.sort(key=lambda managed: (managed.initial_date, managed.unique_identifier), reverse=True)
        start = payload.offset_items or 0
        asked = len(found) if payload.maximum_items is None else payload.maximum_items
        most = min(asked, self._options.page or asked)
        identifiers = [kept.identifier(managed) for managed in found[start : start + most]]
        counted = len(found) if self._options.page else None
        return payloads.LocateResponsePayload(located_items=counted, unique_identifiers=identifiers)

    def _process_query(self, payload: Any) -> Any:
        response = super()._process_query(payload)
        if response.operations:
            offered = [*response.operations, *QUERIED_TOO]
            response.operations = [operation for operation in offered if not self._refuses(operation)]
        if response.vendor_identification:
            response.vendor_identification = self._options.vendor
        return response


def _format_of(managed: Any) -> str:
    """Return the key format type of an object to register, "" where it has none."""
    block = getattr(managed, "key_block", None)
    return "" if block is None else str(block.key_format_type.value.name)


def _do_not_wait_for_the_disk(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def _age(managed: Any) -> None:
    """Let the dates that have come change the state."""
    now = time.time()
    state = getattr(managed, "state", None)
    if state is State.PRE_ACTIVE and any(date <= now for date in kept.dates_of(managed, kept.ACTIVATION)):
        managed.state = state = State.ACTIVE
    if state is State.ACTIVE and any(date <= now for date in kept.dates_of(managed, kept.DEACTIVATION)):
        managed.state = State.DEACTIVATED
