from __future__ import annotations

import pytest

from mrhsm_p11 import errors
from mrhsm_p11.constants import CKR


def classes() -> list[type[errors.CryptokiError]]:
    return errors.CryptokiError.__subclasses__()


def test_each_class_answers_the_code_of_its_name() -> None:
    assert errors.KeyUnextractable.ckr == CKR.KEY_UNEXTRACTABLE
    assert errors.AeadDecryptFailed.ckr == CKR.AEAD_DECRYPT_FAILED
    assert errors.SessionReadWriteSoExists.ckr == CKR.SESSION_READ_WRITE_SO_EXISTS


def test_no_code_has_two_classes() -> None:
    codes = [cls.ckr for cls in classes() if cls.__module__ == errors.__name__]
    assert len(codes) == len(set(codes)) >= 80


def test_a_name_that_is_no_code_is_refused() -> None:
    with pytest.raises(TypeError, match="names no CKR"):
        type("KeyUnextractible", (errors.CryptokiError,), {})


def test_a_narrower_class_keeps_its_parent_s_code() -> None:
    narrower = type("ServerGone", (errors.DeviceError,), {})
    assert narrower.ckr == CKR.DEVICE_ERROR


def test_text_defaults_to_the_code_s_name() -> None:
    assert str(errors.PinLocked()) == "PIN_LOCKED"
    assert str(errors.PinLocked("after 10 wrong ones")) == "after 10 wrong ones"
