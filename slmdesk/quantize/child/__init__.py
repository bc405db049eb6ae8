"""The native work of quantizing: only the quantizer's child imports anything from here."""
