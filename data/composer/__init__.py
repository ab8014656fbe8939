"""The parts of the composer (`data.compose`): styles, grooves, harmony, casting, accompaniments and repertoire."""
