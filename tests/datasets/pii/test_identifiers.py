"""Personal data in a text: what must be found in every form, what must not, and how long it may take."""

from __future__ import annotations

import time

import pytest

from ftops.datasets.pii import SHAPE, find
from ftops.datasets.pii.cards import luhn
from ftops.datasets.pii.registrations import business_digit, person_digit


def found(text: str) -> dict[str, str]:
    """What was found, by the text of it."""
    return {text[hit.start : hit.end]: hit.entity for hit in find(text)}


def only(text: str) -> tuple[str, str, str]:
    (hit,) = find(text)
    return hit.entity, text[hit.start : hit.end], hit.masked


# ------------------------------------------------------------------------------------------------ e-mail


@pytest.mark.parametrize(
    "address",
    [
        "a@b.com",
        "kim.cheol-su+news@mail.example.co.kr",
        "A_B%c@EXAMPLE.ORG",
        "x@sub.xn--3e0b707e",
        "1@2.example",
        "me@163.com",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "메일{}으로", "<{}>", "mailto:{}?subject=x", "({}),", "주소는 {}.", "to={};", "-{}|"]
)
def test_addresses_are_found_beside_anything(address: str, around: str) -> None:
    assert only(around.format(address)) == ("email", address, "<EMAIL>")


@pytest.mark.parametrize(
    "text",
    [
        "a@b", "@mention 씨", "a@b.c|d", "a@b.c", "@a.com", "a@.com", "a@-b.com", "a.@b.com", "이름@b.com", "a@b.com2",
        "icon@2x.png", "react@18.2.0", "lodash@4.17.rc", "git@github.com:owner/project.git", "ssh://git@example.com/owner/project",
        "scores = q@k.transpose(-2, -1)", f"{'a' * 65}@b.com", "user@localhost",
    ],
)  # fmt: skip
def test_what_only_has_an_at_is_no_address(text: str) -> None:
    assert find(text) == []


# ------------------------------------------------------------------------------------------------- phones

PHONES = {
    "010-1234-5678": "010-****-****",
    "010.1234.5678": "010.****.****",
    "010 1234 5678": "010 **** ****",
    "010 - 1234 - 5678": "010 - **** - ****",
    "01012345678": "010********",
    "010-123-4567": "010-***-****",
    "010-12345678": "010-********",
    "010-0000-1234": "010-****-****",
    "011-234-5678": "011-***-****",
    "016-2345-6789": "016-****-****",
    "0192345678": "019*******",
    "02-123-4567": "02-***-****",
    "02-1234-5678": "02-****-****",
    "02)1234-5678": "02)****-****",
    "0212345678": "02********",
    "031-123-4567": "031-***-****",
    "064-1234-5678": "064-****-****",
    "0503-1234-5678": "0503-****-****",
    "070-1234-5678": "070-****-****",
    "+82-10-1234-5678": "+82-10-****-****",
    "+82 10 1234 5678": "+82 10 **** ****",
    "+82 (0)10-1234-5678": "+82 (0)10-****-****",
    "+82)10-1234-5678": "+82)10-****-****",
    "+821012345678": "+8210********",
    "+82 2 123 4567": "+82 2 *** ****",
    "0082-10-1234-5678": "0082-10-****-****",
    "0082 (0)2 1234 5678": "0082 (0)2 **** ****",
    "０１０－１２３４－５６７８": "０１０－****－****",
    "０１０１２３４５６７８": "０１０********",
    "010–1234–5678": "010–****–****",
    "010-12\u200b34-5678": "010-**\u200b**-****",
    "+1 202 555 0123": "+1 *** *** ****",
    "+1-202-555-0123": "+1-***-***-****",
    "+1 (202) 555-0123": "+1 (***) ***-****",
    "+12025550123": "+1**********",
    "001-202-555-0123": "001-***-***-****",
    "011 44 20 7946 0958": "011 44 ** **** ****",
    "+44 20 7946 0958": "+44 ** **** ****",
    "+33 1 23 45 67 89": "+33 * ** ** ** **",
    "+81 90-1234-5678": "+81 **-****-****",
    "+86 138 0013 8000": "+86 *** **** ****",
    "(202) 555-0123": "(***) ***-****",
}


@pytest.mark.parametrize("number", PHONES)
@pytest.mark.parametrize("around", ["{}", "전화{}입니다", "전화: {}.", "**{}**", "[{}]", "tel={}&", "\t{}\n"])
def test_telephones_are_found_in_every_form(number: str, around: str) -> None:
    assert only(around.format(number)) == ("phone", number, PHONES[number])


@pytest.mark.parametrize(
    "text",
    [
        "1588-1234", "15881234", "1600-0000", "1899-9999", "02-1588-1234", "080-123-4567", "+1 800 555 0199", "+82-1588-1234",
        "1010-1234-5678", "a010-1234-5678", "v2.010-1234-5678", "010-1234-56789", "010-1234-5678-90", "01010101010", "0101234567",
        "202-555-0123", "0012025550123", "00000123456789", "12.345.6789.1234", "+2024-01-15 10", "3.14159265358979", "0.01012345678",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_telephone_is_none(text: str) -> None:
    assert find(text) == []


def test_a_word_beside_it_makes_a_telephone_of_what_could_be_anything() -> None:
    assert only("call 1-202-555-0123")[1] == "1-202-555-0123"
    assert only("call 202-555-0123")[0] == only("phone: 0012025550123")[0] == "phone"


def test_two_numbers_in_a_row_are_two() -> None:
    assert found("010-1234-5678/02-123-4567, 010 9876 5432 010 8765 4321") == dict.fromkeys(
        ["010-1234-5678", "02-123-4567", "010 9876 5432", "010 8765 4321"], "phone"
    )
    assert found("02 010 1234 5678") == {"010 1234 5678": "phone"}
    assert only("+1 202 555 0123 2024")[1] == "+1 202 555 0123"


# -------------------------------------------------------------------------------------- residents, businesses


def resident(first: str, *, foreign: bool = False) -> str:
    return first + person_digit(first.replace("-", ""), foreign=foreign)


@pytest.mark.parametrize("around", ["{}", "주민번호{}입니다", "RRN: {}."])
@pytest.mark.parametrize(
    ("number", "entity"),
    [
        ("900101-1234567", "kr_rrn"), ("851231-2345678", "kr_rrn"), ("050815-3123456", "kr_rrn"), ("201006-4999999", "kr_rrn"),
        ("000229-3123456", "kr_rrn"), ("900101 - 1234567", "kr_rrn"), ("９００１０１－１２３４５６７", "kr_rrn"),
        ("900101-5234567", "kr_frn"), ("900101-6234567", "kr_frn"), ("010203-7234567", "kr_frn"), ("010203-8234567", "kr_frn"),
        ("9001011234567", "kr_rrn"), ("9001015234567", "kr_frn"),
    ],
)  # fmt: skip
def test_residents_are_found_whatever_the_check_digit(number: str, entity: str, around: str) -> None:
    text = around.format(number)
    (hit,) = find(text)
    assert (hit.entity, text[hit.start : hit.end]) == (entity, number)
    assert set(hit.masked) <= set("*-－ ")


def test_a_right_check_digit_makes_it_surer() -> None:
    # Worked by hand: 2·8+3·0+4·0+5·1+6·0+7·1+8·1+9·2+2·3+3·4+4·5+5·6 = 122, 122 mod 11 = 1, 11-1 = 10, 10 mod 10 = 0.
    assert resident("800101-123456") == "800101-1234560"
    # 13 - 138 mod 11 = 13 - 6 = 7 with a 5 for the 1, which weighs 8: 122 + 32 = 154, 154 mod 11 = 0, 13 mod 10 = 3.
    assert resident("800101-523456", foreign=True) == "800101-5234563"
    sure, unsure = find("800101-1234560")[0], find("800101-1234561")[0]
    assert sure.confidence == 1.0 > unsure.confidence > SHAPE


@pytest.mark.parametrize(
    "text",
    [
        "850231-1234567", "901301-1234567", "900100-1234567", "010229-3123456", "991231-3234567", "1900101-1234567",
        "a900101-1234567", "1.900101-1234567", "900101-12345678", "900101-123456", "900101-1234567-8", "240115-0001234",
        "1710123456789", "1700000000000", "8801043015356", "법인등록번호 110111-1234567",
    ],
)  # fmt: skip
def test_what_has_no_real_date_or_is_something_else_is_no_resident(text: str) -> None:
    assert find(text) == []


def test_thirteen_digits_that_may_be_a_time_are_a_resident_where_they_are_called_so() -> None:
    assert only("주민등록번호 1710123456789")[0] == "kr_rrn"


def test_businesses_are_found_by_their_check_digit() -> None:
    # 1·1+3·2+7·3+1·4+3·5+7·6+1·7+3·8+5·9 = 165, and ⌊5·9/10⌋ = 4: 169, so the last is 1.
    assert business_digit("123456789") == "1"
    assert only("123-45-67891은") == ("kr_brn", "123-45-67891", "***-**-*****")
    assert only("사업자등록번호 1234567891")[0] == "kr_brn"
    for text in "123-45-67890", "1234567891", "000-00-00000", "사업자등록번호 1234567890", "1123-45-67891":
        assert find(text) == [], text


# --------------------------------------------------------------------------------------------------- cards

CARDS = [
    "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "5555555555554444", "5105-1051-0510-5100", "2223003122003222",
    "2720 9999 9999 9996", "378282246310005", "3782 822463 10005", "6011111111111117", "3530111333300000", "30569309025904",
    "3056 930902 5904", "6200000000000005", "4000 0000 0000 0000 006", "9410-1234-5678-9010", "4111–1111–1111–1111",
]  # fmt: skip


@pytest.mark.parametrize("number", CARDS)
@pytest.mark.parametrize("around", ["{}", "카드{}로 결제", "'{}'", "{}, exp. 12/29", "{} 2029"])
def test_cards_of_every_issuer_are_found(number: str, around: str) -> None:
    entity, text, shown = only(around.format(number))
    assert (entity, text) == ("credit_card", number)
    assert set(shown) <= set("*- –")


def test_other_digits_before_or_after_hide_no_card() -> None:
    assert only("1234 4111 1111 1111 1111")[1] == only("4111 1111 1111 1111 1234")[1] == "4111 1111 1111 1111"


def test_the_code_on_the_back_is_no_part_of_the_number() -> None:
    assert only("4111 1111 1111 1111 123")[1] == "4111 1111 1111 1111"


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112", "1111111111111117", "0000000000000000", "2221000000000008", "2721 0000 0000 0004", "41111111111111116",
        "a4111111111111111", "4111111111111111f", "1.4111111111111111", "4222222222222",
    ],
)  # fmt: skip
def test_what_fails_issuer_length_or_luhn_is_no_card(text: str) -> None:
    assert find(text) == []


def test_an_old_card_of_thirteen_digits_needs_to_be_called_one() -> None:
    assert only("카드 4222222222222")[0] == "credit_card"


def test_luhn() -> None:
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{digit}") for digit in "012456789")


# ---------------------------------------------------------------------------------------------- by context


@pytest.mark.parametrize(
    ("entity", "number", "names"),
    [
        ("passport", "M12345678", ["여권번호는 {}", "passport no. {}", "{} (여권)"]),
        ("passport", "M123A4567", ["여권: {}입니다", "Passport {}", "PASSPORT\n{}"]),
        ("driver_license", "112233333344", ["운전면허 {}", "driver's license {}", "driving licence: {}"]),
        ("driver_license", "11 22 333333 44", ["면허번호 {}"]),
        ("bank_account", "1234567890", ["계좌번호 {}입니다", "account number: {}", "bank account is {}"]),
        ("bank_account", "12345678901234", ["통장 {}"]),
        ("bank_account", "123-45-6789012", ["{} (국민은행)", "acct {}"]),
        ("bank_account", "1000 1234 5678", ["송금은 {}로", "account no {} 2024"]),
    ],
)
def test_words_beside_it_make_it_what_it_is(entity: str, number: str, names: list[str]) -> None:
    assert find(f"번호 {number}") == []
    assert find(f"number {number}") == []
    for name in names:
        assert only(name.format(number))[:2] == (entity, number)
    assert find(names[0].format("") + "\n\n" + "x " * 10 + number) == [], "too far away, in another paragraph"


@pytest.mark.parametrize(
    ("entity", "number"),
    [
        ("driver_license", "11-22-333333-44"), ("driver_license", "28-00-000000-00"), ("bank_account", "110-123-456789"),
        ("bank_account", "123456-04-123456"), ("bank_account", "1002-123-456789"), ("bank_account", "3333-01-1234567"),
        ("bank_account", "302-1234-5678-91"),
    ],
)  # fmt: skip
def test_a_form_of_their_own_is_found_without_words_and_said_to_be_unsure(entity: str, number: str) -> None:
    (hit,) = find(f"x {number}")
    assert (hit.entity, hit.confidence == SHAPE) == (entity, True)


def test_a_licence_by_the_name_of_its_authority() -> None:
    assert only("서울 12-345678-90")[:2] == ("driver_license", "12-345678-90")
    assert find("12-345678-90") == []


@pytest.mark.parametrize(
    "text",
    [
        "27-22-333333-44",
        "111-22-333333-44",
        "송금 1000000000원",
        "계좌를 20240115123000에 열었다",
        "통장 2024-01-15-10",
        "account id 1234567890",
    ],
)
def test_amounts_times_and_ids_are_none(text: str) -> None:
    assert find(text) == []


# ------------------------------------------------------------------------------------------ together


@pytest.mark.parametrize(
    "text",
    [
        "1732291200", "1732291200123", "1732291200123456", "550e8400-e29b-41d4-a716-446655440000", "12345678-0212-3456-7890-123456789012",
        "1234567", "1234567890", "123456789012", "20241122-0007", "2024-11-22 10:20:30", "12.8.1.3", "1.2.3.4567", "850231-1234567",
        "192.168.100.200", "978-89-01-12345-6", "ISBN 9788901123456", "order 10023-445566", "0x0101234567890abc", "3,141,592,653",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "번호는 {}입니다", "number: {}."])
def test_traps(text: str, around: str) -> None:
    assert find(around.format(text)) == []


def test_each_of_a_crowd_is_found() -> None:
    text = "김예시 900101-1234567 010-1234-5678 a@b.com 4111111111111111 계좌 110-123-456789"
    assert found(text) == {
        "900101-1234567": "kr_rrn",
        "010-1234-5678": "phone",
        "a@b.com": "email",
        "4111111111111111": "credit_card",
        "110-123-456789": "bank_account",
    }


def test_the_surest_of_what_overlaps_is_kept() -> None:
    assert only("계좌 010-1234-5678")[0] == "phone"
    assert only("계좌번호 123-45-67891")[0] == "kr_brn"
    assert only("01012345678@naver.com")[0] == "email"


def test_only_what_is_asked_for_is_given_and_nothing_else_takes_its_place() -> None:
    text = "계좌 010-1234-5678, a@b.com"
    assert [hit.entity for hit in find(text, frozenset({"email", "bank_account"}))] == ["email"]


def test_places_are_those_of_the_text_as_it_stands() -> None:
    text = "①… 전화 ０１０-1234\u200b-5678, 값 ㎏ a＠b.com"
    assert found(text) == {"０１０-1234\u200b-5678": "phone", "a＠b.com": "email"}
    assert found("여권 M12345678") == {"M12345678": "passport"}, "the word is written in parts"


def test_no_text_nothing_found() -> None:
    assert find("") == []


# ----------------------------------------------------------------------------------------------------- time

HOSTILE = {
    "digits": "1", "zeros": "0", "at": "@", "a@": "a@", "a.": "a.", "@a.": "@a.", "local": "a", "a@b.c": "a@b.c", "groups": "0101 ",
    "hyphens": "4111-", "dots": "1.", "plus": "+1 ", "spaces": "1    ", "parentheses": "1(((", "+82": "+82", "dialled": "001-", "hex": "0a1b-",
    "full width": "０", "parts": "가", "circled": "①-", "no width": "1\u200b", "accents": "a\u0301", "passport": "여권M1234567 ", "mask": "****-",
    "words": "계좌 12345 ", "accounts": "계좌 123-45-6789012 ",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_text_and_no_faster(name: str) -> None:
    def seconds(size: int) -> float:
        text = HOSTILE[name] * (size // len(HOSTILE[name]))
        start = time.process_time()
        find(text)
        return time.process_time() - start

    find("+1 202 555 0123")
    short, long = min(seconds(50_000) for _ in range(3)), seconds(400_000)
    assert long < 24 * max(short, 0.01), f"8 times the text took {long / short:.0f} times as long"
