/* Print a number between 1 and 3999 as the Romans wrote it. */
#include <stdio.h>
#include <stdlib.h>

static const struct {
    int value;
    const char *letters;
} NUMERALS[] = {
    {1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"}, {50, "L"},
    {40, "XL"},  {10, "X"},   {9, "IX"},  {5, "V"},    {4, "IV"},  {1, "I"},
};

int main(int argc, char **argv) {
    long number = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    if (number < 1 || number > 3999) {
        fprintf(stderr, "usage: roman NUMBER (1 to 3999)\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof NUMERALS / sizeof *NUMERALS; i++)
        for (; number >= NUMERALS[i].value; number -= NUMERALS[i].value)
            fputs(NUMERALS[i].letters, stdout);
    putchar('\n');
    return 0;
}
