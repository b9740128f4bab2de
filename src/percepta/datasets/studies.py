"""What the public rating studies ask: their scales of scores, and what they know about the people who rated."""

from __future__ import annotations

from percepta.datasets.ratings import Field, Scale

OASIS_SCALE = Scale(1, 7, 1)
# TEPS is a questionnaire on how much somebody enjoys things ahead of them and at hand.
OASIS_FIELDS = (
    Field("age", "number", low=0, high=120),
    Field("gender", "choice", ("male", "female", "other")),
    Field("education", "choice", ("1", "2", "3", "4", "5")),
    Field("mood", "number", low=0, high=100),
    Field("teps_anticipatory", "number", low=1, high=6),
    Field("teps_consummatory", "number", low=1, high=6),
)

PARA_SCALE = Scale(1, 5, 0.5)
EXPERIENCE = ("beginner", "competent", "proficient", "expert")
PARA_FIELDS = (
    Field("age", "choice", ("18-21", "22-25", "26-29", "30-34", "35-40")),
    Field("gender", "choice", ("female", "male")),
    Field(
        "EducationalLevel",
        "choice",
        ("junior_high_school", "senior_high_school", "technical_secondary_school", "junior_college", "university"),
    ),
    Field("artExperience", "choice", EXPERIENCE),
    Field("photographyExperience", "choice", EXPERIENCE),
    *(Field(f"personality-{letter}", "number", low=1, high=10) for letter in "EANOC"),
)

FLICKR_AES_SCALE = Scale(1, 5, 1)

SCALES = {"oasis": OASIS_SCALE, "para": PARA_SCALE, "flickr-aes": FLICKR_AES_SCALE}
FIELDS: dict[str, tuple[Field, ...]] = {"oasis": OASIS_FIELDS, "para": PARA_FIELDS, "flickr-aes": ()}
