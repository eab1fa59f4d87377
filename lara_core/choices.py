"""What can be chosen, known without torch: faces show it before anything heavy is imported."""

EMBEDDED = "embedded"  # the model in the pack
PRECISIONS = ("float32", "bfloat16", "float16", "int8")  # of a decoder: torch's names
MAX_CANDIDATES = 16  # tries for each segment, see words_and_takes
