"""How a first attempt fails, inside the object loop only: callers of the library never see these."""


class Unanswered(Exception):
    """obstore got no answer to rely on: botocore is asked instead. Holds no text of the server's."""


class AnswerLost(Unanswered):
    """A PUT went out, perhaps, and no answer came: it may have been done."""


class UnprovenEtag(Unanswered):
    """A PUT was answered with an ETag that looks like an MD5 and is not that of its body."""
