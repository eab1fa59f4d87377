"""What can be chosen, known without torch: faces show it before anything heavy is imported."""

EMBEDDED = "embedded"  # the model in the pack
PRECISIONS = ("float32", "bfloat16", "float16", "int8")  # of a decoder: torch's names
TEXT_STRENGTH, EMOTION_STRENGTH = 1.0, 3.0  # of guidance, where nothing else is asked for; see conditioning.guidance_rows
MAX_CANDIDATES = 16  # tries for each segment, see tries
USUAL_CANDIDATES = 4  # of a score model that can judge its tries, where nobody says
