from rtp_core import native


def test_the_wheel_exports_what_we_need() -> None:
    assert native.has_symbol("srtp_protect")
    assert native.has_symbol("SHA1_Update")


def test_an_unknown_symbol_is_none() -> None:
    assert not native.has_symbol("tandem_no_such_function")
