"""Languages by their codes of ISO 639: one language may have up to three.

Containers use the codes of three letters, some those of terminology (`deu`), others those of
bibliography (`ger`). People write those of two letters (`de`).
"""

from collections.abc import Iterable
from typing import Final

__all__ = ["is_among"]

# The code of two letters, that of terminology, and that of bibliography if it is another.
_CODES: Final = """
aa aar|ab abk|ae ave|af afr|ak aka|am amh|an arg|ar ara|as asm|av ava|ay aym|az aze|ba bak|be bel|
bg bul|bh bih|bi bis|bm bam|bn ben|bo bod tib|br bre|bs bos|ca cat|ce che|ch cha|co cos|cr cre|
cs ces cze|cu chu|cv chv|cy cym wel|da dan|de deu ger|dv div|dz dzo|ee ewe|el ell gre|en eng|eo epo|
es spa|et est|eu eus baq|fa fas per|ff ful|fi fin|fj fij|fo fao|fr fra fre|fy fry|ga gle|gd gla|
gl glg|gn grn|gu guj|gv glv|ha hau|he heb|hi hin|ho hmo|hr hrv|ht hat|hu hun|hy hye arm|hz her|
ia ina|id ind|ie ile|ig ibo|ii iii|ik ipk|io ido|is isl ice|it ita|iu iku|ja jpn|jv jav|ka kat geo|
kg kon|ki kik|kj kua|kk kaz|kl kal|km khm|kn kan|ko kor|kr kau|ks kas|ku kur|kv kom|kw cor|ky kir|
la lat|lb ltz|lg lug|li lim|ln lin|lo lao|lt lit|lu lub|lv lav|mg mlg|mh mah|mi mri mao|mk mkd mac|
ml mal|mn mon|mr mar|ms msa may|mt mlt|my mya bur|na nau|nb nob|nd nde|ne nep|ng ndo|nl nld dut|
nn nno|no nor|nr nbl|nv nav|ny nya|oc oci|oj oji|om orm|or ori|os oss|pa pan|pi pli|pl pol|ps pus|
pt por|qu que|rm roh|rn run|ro ron rum|ru rus|rw kin|sa san|sc srd|sd snd|se sme|sg sag|si sin|
sk slk slo|sl slv|sm smo|sn sna|so som|sq sqi alb|sr srp|ss ssw|st sot|su sun|sv swe sve|sw swa|
ta tam|te tel|tg tgk|th tha|ti tir|tk tuk|tl tgl|tn tsn|to ton|tr tur|ts tso|tt tat|tw twi|ty tah|
ug uig|uk ukr|ur urd|uz uzb|ve ven|vi vie|vo vol|wa wln|wo wol|xh xho|yi yid|yo yor|za zha|
zh zho chi|zu zul
"""
_LANGUAGES: Final = {
    code: codes
    for codes in (frozenset(row.split()) for row in _CODES.replace("\n", "").split("|"))
    for code in codes
}


def is_among(code: str, wanted: Iterable[str]) -> bool:
    """Tell whether a language is one of those that are wanted, by any of its codes."""
    told = code.lower().partition("-")[0]  # `de-AT`, as Matroska and the web may have it
    return not _codes(told).isdisjoint(wanted)


def _codes(code: str) -> frozenset[str]:
    return _LANGUAGES.get(code, frozenset({code}))
