"""New objects: Create and Register, sent with all that the server takes, active, and made exactly once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mrhsm_p11 import deadline, log
from mrhsm_p11.constants import CKA
from mrhsm_p11.errors import CryptokiError, DeviceError
from mrhsm_p11.kmip.attributes import Attribute
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.kmip.vocabulary import KeyFormatType, ObjectType
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, KeyState
from mrhsm_p11.store.kmip import blob as blobs
from mrhsm_p11.store.kmip import materials, records
from mrhsm_p11.store.kmip.blob import Blob
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.found import ID_NAMESPACE, LABEL_NAMESPACE, NAMESPACE, Found, Information
from mrhsm_p11.store.kmip.learned import Facts, Learned
from mrhsm_p11.store.kmip.lifecycle import Lifecycle
from mrhsm_p11.store.kmip.plans import NEGOTIABLE, OF_FORMAT, Plan, name_of, names_plainly, plans, sent_attributes
from mrhsm_p11.store.kmip.reader import searchable
from mrhsm_p11.store.kmip.records import Entry, Shape
from mrhsm_p11.store.kmip.resolving import Resolver
from mrhsm_p11.store.kmip.sidecar import Note, Sidecar

Form: TypeAlias = KeyFormatType | None
Ask: TypeAlias = Callable[[list[Attribute], Form], str]


@dataclass(frozen=True, slots=True)
class Draft:
    """A new object before it has an identifier."""

    shape: Shape
    attributes: Attributes
    blob: Blob
    left: blobs.Changes  # of the blob, for want of room
    fixed_name: str = ""  # the Name that it must have
    activates: bool = True

    @property
    def label(self) -> str:
        label = self.attributes.get(CKA.LABEL, "")
        return label if isinstance(label, str) else ""


@dataclass(frozen=True, slots=True)
class Made:
    uid: str
    plan: Plan
    form: Form
    name: str


class Creator:
    """Makes objects for one token. Raises KMIPError, or CryptokiError where the failure is ours."""

    def __init__(
        self,
        servers: Servers,
        learned: Learned,
        sidecar: Sidecar,
        lifecycle: Lifecycle,
        *,
        serial: str,
        group: Sequence[Attribute] = (),
        undoes: bool = True,
        marks: Callable[[Attributes], list[Attribute]] = lambda _: [],
    ) -> None:
        self._servers = servers
        self._learned = learned
        self._sidecar = sidecar
        self._lifecycle = lifecycle
        self._serial = serial
        self._group = list(group)
        self._undoes = undoes
        self._marks = marks
        self._resolver = Resolver(servers, lifecycle.destroy_quietly if undoes else None)

    def create(self, attributes: Attributes, length: int, *, name: str = "", activates: bool = True) -> Entry | None:
        """Have the server make a secret key of so many bits; None where it makes none of this kind."""
        draft = self._draft(attributes, length, name, activates)
        if draft.shape.object_type is not ObjectType.SYMMETRIC_KEY or draft.shape.algorithm is None:
            return None
        refused = self._learned.facts.not_created
        if draft.shape.algorithm.name in refused:
            return None

        def ask(sent: list[Attribute], form: Form) -> str:
            client = self._servers.client
            return client.create(ObjectType.SYMMETRIC_KEY, sent, deadline=deadline.current())

        try:
            return self._make(draft, ask, (None,))
        except OperationFailed as error:
            if error.reason not in NEGOTIABLE:
                raise
            log.info(f"keys of this kind are made here and registered: {error}")
            self._learned.note(not_created=(*refused, draft.shape.algorithm.name))
            return None

    def register(self, attributes: Attributes, material: Secret, *, name: str = "", activates: bool = True) -> Entry:
        """Store an object whose material we have."""
        cls, _ = records.kind_of(attributes)
        draft = self._draft(attributes, materials.key_bits(cls, material), name, activates)

        def ask(sent: list[Attribute], form: Form) -> str:
            packed = materials.pack(draft.shape, material, form)
            return self._servers.client.register(packed, sent, deadline=deadline.current())

        return self._make(draft, ask, materials.formats_of(draft.shape))

    def _draft(self, attributes: Attributes, length: int, name: str, activates: bool) -> Draft:
        shape = records.shape_of(attributes, length)
        changes = records.changes_of(attributes, shape)
        blob, left = blobs.fit(Blob(self._serial, secrets.token_hex(8), changes))
        return Draft(shape, attributes, blob, left, name, activates)

    def _make(self, draft: Draft, ask: Ask, forms: Sequence[Form]) -> Entry:
        self._resolver.tidy()
        self._learned.ask_who()
        facts = self._learned.expected
        plain = bool(draft.fixed_name) or names_plainly(draft.label, facts)
        activates = draft.shape.stateful and draft.activates
        try:
            made = self._negotiate(draft, ask, forms, facts, activates=activates, plain=plain)
        except OperationFailed as error:
            if error.reason not in NEGOTIABLE or replace(facts, vendor=None) == Facts():
                raise
            # What was learned may be of yesterday, and what documents say of another release.
            made = self._negotiate(draft, ask, forms, Facts(), activates=activates, plain=plain)
        self._note(draft, made, forms)
        try:
            return self._finish(draft, made, activates)
        except (KMIPError, CryptokiError):
            if self._undoes:
                self._lifecycle.destroy_quietly(made.uid)
            raise

    def _negotiate(
        self, draft: Draft, ask: Ask, forms: Sequence[Form], facts: Facts, *, activates: bool, plain: bool
    ) -> Made:
        """Return the first of the ways to send the object that the server takes. Raises its last refusal."""
        todo = list(plans(facts, activates=activates, plain=plain))
        forms = [form for form in forms if form is None or form.name not in facts.formats] or list(forms)
        plan = form = 0
        while True:
            try:
                return self._attempt(draft, ask, todo[plan], forms[form])
            except OperationFailed as error:
                if error.reason not in NEGOTIABLE:
                    raise
                if error.reason in OF_FORMAT and form + 1 < len(forms):
                    form += 1
                elif plan + 1 < len(todo):
                    plan += 1
                elif form + 1 < len(forms):
                    plan, form = 0, form + 1
                else:
                    raise

    def _attempt(self, draft: Draft, ask: Ask, plan: Plan, form: Form) -> Made:
        name = draft.fixed_name
        if not name and (draft.label or not (plan.information or plan.custom)):
            name = name_of(draft.label, draft.shape.cls, plain=plan.plain_name)
        text = blobs.dump(draft.blob)
        sent = sent_attributes(draft.shape, draft.attributes, plan, name, text) + self._group
        unique = not draft.fixed_name and not plan.plain_name
        marker = self._resolver.marker(plan, name, text, unique_name=unique)
        uid = self._marked(draft, lambda marks: self._resolver.make(lambda: ask(sent + marks, form), marker))
        return Made(uid, plan, form, name)

    def _marked(self, draft: Draft, make: Callable[[list[Attribute]], str]) -> str:
        """Make the object with those of its marks that the server takes."""
        refused = self._learned.facts.unmarked
        marks = [] if draft.shape.object_type is ObjectType.OPAQUE_DATA else self._marks(draft.attributes)
        left = [mark for mark in marks if mark.attribute_name not in refused]
        while left:
            try:
                uid = make(left)
            except OperationFailed as error:
                if error.reason not in NEGOTIABLE:
                    raise
                left.pop()
            else:
                without = tuple(mark.attribute_name for mark in marks if mark not in left)
                self._learned.note(unmarked=without)
                return uid
        uid = make([])
        if marks:
            self._learned.note(unmarked=tuple(mark.attribute_name for mark in marks))
        return uid

    def _note(self, draft: Draft, made: Made, forms: Sequence[Form]) -> None:
        plan = made.plan
        changes = {"information": plan.information}
        changes |= {"entries": plan.entries} if plan.information else {"custom": plan.custom}
        if draft.label and not draft.label.isascii():
            changes["plain_names"] = plan.plain_name
        known, left_out = self._learned.facts.formats, self._learned.expected.formats
        passed = [form.name for form in forms[: forms.index(made.form)] if form and form.name not in left_out]
        self._learned.note(formats=(*known, *passed))
        self._learned.note_sent(**changes)

    def _finish(self, draft: Draft, made: Made, activates: bool) -> Entry:
        entry = self._entry(
            draft, made, KeyState.ACTIVE if activates or not draft.shape.stateful else KeyState.PRE_ACTIVE
        )
        told = self._server_tells(made)
        if not told:
            self._sidecar.write(Note(made.uid, entry.record.attributes))
        elif draft.left:
            self._sidecar.write(Note(made.uid, draft.left, whole=False))
        if activates:
            self._activate(made)
        if not told and self._server_tells(made):  # as the look at the first key's state has shown
            if draft.left:
                self._sidecar.write(Note(made.uid, draft.left, whole=False))
            else:
                self._sidecar.remove(made.uid)
        return entry

    def _server_tells(self, made: Made) -> bool:
        """Tell whether the object's attributes can be read from the server, as far as is known."""
        return (made.plan.information or made.plan.custom) and self._learned.facts.get_attributes is True

    def _activate(self, made: Made) -> None:
        if made.plan.activation_date:
            known = self._learned.facts.activation_date
            if known:
                return
            took_effect = self._lifecycle.state(made.uid) is KeyState.ACTIVE
            self._learned.note(activation_date=took_effect)
            if took_effect:
                return
        else:
            self._learned.note_sent(activation_date=False)
        self._lifecycle.activate(made.uid)

    def _entry(self, draft: Draft, made: Made, state: KeyState) -> Entry:
        shape, plan = draft.shape, made.plan
        text = blobs.dump(draft.blob)
        cka_id = draft.attributes.get(CKA.ID, b"")
        information = [Information(0, NAMESPACE, text)] if plan.information else []
        if plan.entries:
            information.append(Information(1, LABEL_NAMESPACE, searchable(draft.label)))
            information.append(Information(2, ID_NAMESPACE, searchable(cka_id if isinstance(cka_id, bytes) else b"")))
        told = Found(
            made.uid,
            shape.object_type,
            shape.algorithm,
            shape.length,
            shape.mask,
            state,
            names=(made.name,) if made.name else (),
            information=tuple(information),
            custom=(text,) if plan.custom else (),
        )
        blob = draft.blob if plan.information or plan.custom else None
        if blob is None:
            note = Note(made.uid, records.completed(draft.attributes, shape))
        else:
            note = Note(made.uid, draft.left, whole=False)
        entry = records.entry(told, note)
        if entry is None:
            raise DeviceError("a new object cannot be read as what it was made")
        return entry
