"""All styles that the composer writes by itself."""

from data.composer.acoustic_styles import ACOUSTIC
from data.composer.electronic_styles import ELECTRONIC
from data.composer.popular_styles import POPULAR

STYLES = (*ACOUSTIC, *POPULAR, *ELECTRONIC)
