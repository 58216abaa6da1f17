/* What emitted kernels need from the outside: element types, pragmas, and scalar functions that a
 * compiler can vectorise because they have no branches, tables or calls.
 *
 * Notation: `real` is float, or double with RECC_DOUBLE. Bounds on the error of exp, expm1, log, log1p,
 * tanh, sigmoid and those made of them are in docs/maths/scalar-functions.md and tested there; the rest
 * is the C library's.
 */
#ifndef RECC_MATH_H
#define RECC_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define RECC_PRAGMA(text) _Pragma(#text)
#define RECC_SIMD(...) RECC_PRAGMA(omp simd __VA_ARGS__)
#define RECC_ALIGNED __attribute__((aligned(64)))
/* Hides how a counter counts. Steps of time depend on each other, so no compiler is to vectorise across them:
 * gcc 12 does so wrongly where rows move by one step and a few elements (a delay line of two elements). */
#define RECC_IN_ORDER(counter) __asm__ volatile("" : "+r"(counter))
#define RECC_EXPORT __attribute__((visibility("default")))
/* Always: a function that stays a call, as in a large kernel, keeps its loop from being vectorised. */
#define RECC_INLINE static inline __attribute__((always_inline))
#define RECC_INF __builtin_inff()
#define RECC_NAN __builtin_nanf("")

/* An array argument: its memory, where each item begins in it (in elements), elements per step. */
typedef struct {
    void *data;
    const int64_t *offset;
    int64_t step;
} recc_array;

/* Names an argument of this item: NAME_at is its first element (null if it was not given). */
#define RECC_ARRAY(type, name, number)                                                                          \
    type *restrict name##_at = arrays[number].data ? (type *)arrays[number].data + arrays[number].offset[item] : 0; \
    const int64_t name##_step = arrays[number].step;                                                            \
    (void)name##_at, (void)name##_step

typedef uint16_t recc_bfloat16;
typedef uint16_t recc_half;

RECC_INLINE float recc_from_bfloat16(recc_bfloat16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

/* Round to nearest even; a NaN stays a NaN. */
RECC_INLINE recc_bfloat16 recc_to_bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (recc_bfloat16)(x != x ? 0x7fc0u : rounded);
}

/* Half precision: by the compiler's type where it has one (gcc 12, clang 15), else by the bits. */
#if defined(__FLT16_MANT_DIG__) && !defined(RECC_HALF_BY_BITS)

RECC_INLINE float recc_from_float16(recc_half x) {
    _Float16 h;
    memcpy(&h, &x, 2);
    return (float)h;
}

RECC_INLINE recc_half recc_to_float16(float x) {
    _Float16 h = (_Float16)x;
    recc_half y;
    memcpy(&y, &h, 2);
    return y;
}

#else

RECC_INLINE float recc_from_float16(recc_half x) {
    uint32_t exponent = x & 0x7c00u, fraction = x & 0x3ffu;
    uint32_t bits = (uint32_t)(x & 0x7fffu) << 13;
    float small = (float)(int32_t)fraction * 0x1p-24f; /* below 2^-14 */
    uint32_t small_bits;
    memcpy(&small_bits, &small, 4);
    bits = exponent == 0x7c00u ? bits | 0x7f800000u : exponent ? bits + 0x38000000u : small_bits;
    bits |= (uint32_t)(x & 0x8000u) << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

/* Round to nearest even; from 65520 on infinity; a NaN stays a NaN. */
RECC_INLINE recc_half recc_to_float16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t size = bits & 0x7fffffffu;
    uint32_t rounded = (size + 0xfffu + ((size >> 13) & 1u) - 0x38000000u) >> 13;
    float small; /* below 2^-14: the last place of a number just above 1/2 is 2^-24 */
    memcpy(&small, &size, 4);
    small += 0.5f;
    uint32_t small_bits;
    memcpy(&small_bits, &small, 4);
    uint32_t half = size < 0x38800000u ? small_bits - 0x3f000000u : rounded;
    half = size >= 0x477ff000u ? 0x7c00u : half;
    half = size > 0x7f800000u ? 0x7e00u : half;
    return (recc_half)(half | ((bits >> 16) & 0x8000u));
}

#endif

RECC_INLINE int64_t recc_clamp_index(int64_t at, int64_t size) {
    int64_t low = at < 0 ? 0 : at;
    return low >= size ? size - 1 : low;
}

RECC_INLINE int64_t recc_wrap(int64_t at, int64_t size) {
    int64_t rest = at % size;
    return rest < 0 ? rest + size : rest;
}

#ifdef RECC_DOUBLE

typedef double real;
typedef int64_t recc_bits;
typedef uint64_t recc_ubits;
#define RECC_FN(name) name
#define RECC_BIAS 1023
#define RECC_MANTISSA 52
#define RECC_MAGIC 6755399441055744.0
#define RECC_EXP_LOW (-708.39)
#define RECC_EXP_HIGH 709.7827128933840
#define RECC_TANH_FLAT 20.0
#define RECC_LN2_HIGH 0x1.62e42fee00000p-1
#define RECC_LN2_LOW 0x1.a39ef35793c76p-33
#define RECC_SMALLEST 2.2250738585072014e-308
#define RECC_RESCALE 0x1p54
#define RECC_RESCALE_LOG2 54

/* (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2, to 2.4e-18. */
RECC_INLINE real recc_exp_tail(real r) {
    real p = 2.0914831351380410561e-9;
    p = p * r + 2.5105419192016336433e-8;
    p = p * r + 2.7557273295539724343e-7;
    p = p * r + 2.7557254913486702019e-6;
    p = p * r + 2.480158732582228205e-5;
    p = p * r + 1.9841269875205076848e-4;
    p = p * r + 1.3888888888883669627e-3;
    p = p * r + 8.3333333333260249508e-3;
    p = p * r + 4.1666666666666669814e-2;
    p = p * r + 1.6666666666666671074e-1;
    return p * r + 0.5;
}

/* R with 2 atanh(s) = 2 s + s R(s^2), for s^2 <= 0.03, to 1e-17. */
RECC_INLINE real recc_log_tail(real z) {
    real p = 0.14630031364122860468;
    p = p * z + 0.15330617306743304885;
    p = p * z + 0.18182922513515941633;
    p = p * z + 0.22222210674238515246;
    p = p * z + 0.28571428628810995598;
    p = p * z + 0.39999999999893221763;
    p = p * z + 0.6666666666666669907;
    return p * z;
}

#else

typedef float real;
typedef int32_t recc_bits;
typedef uint32_t recc_ubits;
#define RECC_FN(name) name##f
#define RECC_BIAS 127
#define RECC_MANTISSA 23
#define RECC_MAGIC 12582912.0f
#define RECC_EXP_LOW (-87.33f)
#define RECC_EXP_HIGH 88.72283f
#define RECC_TANH_FLAT 10.0f
#define RECC_LN2_HIGH 0x1.62e400p-1f
#define RECC_LN2_LOW 0x1.7f7d1cp-20f
#define RECC_SMALLEST 1.17549435e-38f
#define RECC_RESCALE 0x1p25f
#define RECC_RESCALE_LOG2 25

/* (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2, to 7e-8. */
RECC_INLINE real recc_exp_tail(real r) {
    real p = 0.00139263256181334621f;
    p = p * r + 0.0083632927530306023112f;
    p = p * r + 0.041666553762567638397f;
    p = p * r + 0.16666576305560638271f;
    return p * r + 0.5f;
}

/* R with 2 atanh(s) = 2 s + s R(s^2), for s^2 <= 0.03, to 6e-9. */
RECC_INLINE real recc_log_tail(real z) {
    real p = 0.29590317357160397187f;
    p = p * z + 0.39988550988935757338f;
    p = p * z + 0.66666685603273560321f;
    return p * z;
}

#endif

RECC_INLINE real recc_from_bits(recc_bits bits) {
    real x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

RECC_INLINE recc_bits recc_to_bits(real x) {
    recc_bits bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

RECC_INLINE real recc_min(real a, real b) { return a < b ? a : (b != b ? b : (a != a ? a : b)); }
RECC_INLINE real recc_max(real a, real b) { return a > b ? a : (b != b ? b : (a != a ? a : b)); }

/* The power of two 2^n, as bits moved into the exponent; n must give a normal number. */
RECC_INLINE real recc_two_to(recc_bits n) {
    return recc_from_bits((recc_bits)((n + RECC_BIAS) << RECC_MANTISSA));
}

/* The exponent is added to the bits of exp(r), whose own exponent is -1 or 0; what would be smaller than
 * the smallest normal number is 0. */
RECC_INLINE real recc_exp(real x) {
    const real scaled = x * (real)1.44269504088896340736 + RECC_MAGIC;
    const real whole = scaled - RECC_MAGIC;
    const real r = (x - whole * RECC_LN2_HIGH) - whole * RECC_LN2_LOW;
    const real p = 1 + (r + r * r * recc_exp_tail(r));
    const real y = recc_from_bits((recc_bits)((recc_ubits)recc_to_bits(p) + ((recc_ubits)recc_to_bits(scaled) << RECC_MANTISSA)));
    const real low = x < RECC_EXP_LOW ? 0 : y;
    return x <= RECC_EXP_HIGH ? low : x + RECC_INF; /* a NaN stays one */
}

/* 2^n exp(r) - 1 = ((2^n - 1) + 2^n r) + 2^n (exp(r) - 1 - r), the smallest part last; `rest` is what the
 * last sum lost. For x from -40 to 1023 ln 2 (127 ln 2). */
RECC_INLINE real recc_expm1_and_rest(real x, real *rest) {
    const real scaled = x * (real)1.44269504088896340736 + RECC_MAGIC;
    const real whole = scaled - RECC_MAGIC;
    const real high = x - whole * RECC_LN2_HIGH;
    const real r = high - whole * RECC_LN2_LOW;
    const real low = (high - r) - whole * RECC_LN2_LOW;
    const real top = recc_two_to(recc_to_bits(scaled) - recc_to_bits(RECC_MAGIC));
    const real most = (top - 1) + top * r, more = top * (r * r * recc_exp_tail(r) + low);
    const real sum = most + more;
    *rest = more - (sum - most);
    return sum;
}

RECC_INLINE real recc_expm1(real x) {
    const real limit = RECC_BIAS * (real)0.69314718055994530942;
    real y = x < -40 ? (real)-40 : x, rest;
    y = y > limit ? limit : y;
    const real inside = recc_expm1_and_rest(y, &rest);
    return x > limit ? recc_exp(x) : inside;
}

RECC_INLINE real recc_log(real x) {
    const int tiny = x < RECC_SMALLEST;
    const real y = tiny ? x * RECC_RESCALE : x;
    /* Bits below those of sqrt(1/2) belong to the exponent before. */
    const recc_bits bits = recc_to_bits(y) - recc_to_bits((real)0.70710678118654752440);
    const recc_bits n = bits >> RECC_MANTISSA;
    const real m = recc_from_bits(recc_to_bits(y) - (recc_bits)((uint64_t)n << RECC_MANTISSA));
    const real e = (real)(n - (tiny ? RECC_RESCALE_LOG2 : 0));
    const real f = m - 1;
    const real s = f / (2 + f);
    const real half = (real)0.5 * f * f;
    const real low = s * (half + recc_log_tail(s * s)) + e * RECC_LN2_LOW;
    const real value = e * RECC_LN2_HIGH + (f - (half - low));
    const real ends = x < 0 || x != x ? RECC_NAN : (x == 0 ? -RECC_INF : RECC_INF);
    return x > 0 && x < RECC_INF ? value : ends;
}

/* log(1 + x), with what rounding 1 + x lost put back to first order. */
RECC_INLINE real recc_log1p(real x) {
    const real u = 1 + x;
    const real lost = u - 1 == x ? 0 : (x - (u - 1)) / u;
    const real value = recc_log(u) + (u < RECC_INF && u > 0 ? lost : 0);
    return u == 1 ? x : value;
}

/* With t = exp(2 |x|) - 1, tanh |x| = t / (t + 2). The quotient q of rounded t and d = t + 2 is corrected to
 * first order for what the rounding of both lost, with 1 / d = (1 - q) / 2. */
RECC_INLINE real recc_tanh(real x) {
    const real size = x < 0 ? -x : x;
    real rest;
    const real t = recc_expm1_and_rest(2 * (size > RECC_TANH_FLAT ? RECC_TANH_FLAT : size), &rest);
    const real d = t + 2, there = d - 2;
    const real lost = (t - there) + (2 - (d - there));
    const real q = t / d, left = (real)0.5 - (real)0.5 * q;
    const real y = q + (2 * rest * left - q * lost) * left;
    return x != x ? x : (x < 0 ? -y : y);
}

/* Corrected for what the rounding of d = 1 + e lost, with 1 / d = q or 1 - q. */
RECC_INLINE real recc_sigmoid(real x) {
    const real e = recc_exp(x < 0 ? x : -x);
    const real d = 1 + e, lost = e - (d - 1);
    const real q = (x < 0 ? e : 1) / d;
    return q - q * lost * (x < 0 ? 1 - q : q);
}

RECC_INLINE real recc_softplus(real x) { return (x > 0 ? x : 0) + recc_log1p(recc_exp(x < 0 ? x : -x)); }
RECC_INLINE real recc_log_sigmoid(real x) { return (x < 0 ? x : 0) - recc_log1p(recc_exp(x < 0 ? x : -x)); }

RECC_INLINE real recc_logaddexp(real a, real b) {
    const real top = a > b ? a : b, low = a > b ? b : a;
    const real gap = a == b ? 0 : low - top;
    return a != a || b != b ? RECC_NAN : (top == -RECC_INF ? top : top + recc_log1p(recc_exp(gap)));
}

RECC_INLINE real recc_abs(real x) { return x < 0 ? -x : (x == 0 ? 0 : x); }
RECC_INLINE real recc_sign(real x) { return x > 0 ? 1 : (x < 0 ? -1 : x); }
RECC_INLINE real recc_sqrt(real x) { return RECC_FN(sqrt)(x); }
RECC_INLINE real recc_rsqrt(real x) { return 1 / RECC_FN(sqrt)(x); }
RECC_INLINE real recc_floor(real x) { return RECC_FN(floor)(x); }
RECC_INLINE real recc_sin(real x) { return RECC_FN(sin)(x); }
RECC_INLINE real recc_cos(real x) { return RECC_FN(cos)(x); }
RECC_INLINE real recc_erf(real x) { return RECC_FN(erf)(x); }
RECC_INLINE real recc_pow(real x, real y) { return RECC_FN(pow)(x, y); }

/* Solves A x = b (or transpose(A) x = b) by elimination with row exchanges. A (n by n, row major) and b
 * are overwritten. */
static inline void recc_solve(int64_t n, real *a, real *b, real *x, int transposed) {
    for (int64_t r = 0; transposed && r < n; ++r)
        for (int64_t c = 0; c < r; ++c) {
            const real swap = a[r * n + c];
            a[r * n + c] = a[c * n + r];
            a[c * n + r] = swap;
        }
    for (int64_t k = 0; k < n; ++k) {
        int64_t best = k;
        for (int64_t r = k + 1; r < n; ++r)
            if (recc_abs(a[r * n + k]) > recc_abs(a[best * n + k])) best = r;
        if (best != k) {
            for (int64_t c = 0; c < n; ++c) {
                const real swap = a[k * n + c];
                a[k * n + c] = a[best * n + c];
                a[best * n + c] = swap;
            }
            const real swap = b[k];
            b[k] = b[best];
            b[best] = swap;
        }
        for (int64_t r = k + 1; r < n; ++r) {
            const real factor = a[r * n + k] / a[k * n + k];
            for (int64_t c = k; c < n; ++c) a[r * n + c] -= factor * a[k * n + c];
            b[r] -= factor * b[k];
        }
    }
    for (int64_t k = n - 1; k >= 0; --k) {
        real sum = b[k];
        for (int64_t c = k + 1; c < n; ++c) sum -= a[k * n + c] * x[c];
        x[k] = sum / a[k * n + k];
    }
}

/* Solves L x = b (or transpose(L) x = b) for L unit lower triangular; only the part below is read. */
static inline void recc_solve_unit_lower(int64_t n, const real *l, const real *b, real *x, int transposed) {
    for (int64_t i = 0; i < n; ++i) {
        const int64_t k = transposed ? n - 1 - i : i;
        real sum = b[k];
        if (transposed)
            for (int64_t c = k + 1; c < n; ++c) sum -= l[c * n + k] * x[c];
        else
            for (int64_t c = 0; c < k; ++c) sum -= l[k * n + c] * x[c];
        x[k] = sum;
    }
}

/* The inverse by Gauss-Jordan elimination with row exchanges. A is overwritten. */
static inline void recc_inv(int64_t n, real *a, real *x) {
    for (int64_t i = 0; i < n * n; ++i) x[i] = i / n == i % n;
    for (int64_t k = 0; k < n; ++k) {
        int64_t best = k;
        for (int64_t r = k + 1; r < n; ++r)
            if (recc_abs(a[r * n + k]) > recc_abs(a[best * n + k])) best = r;
        for (int64_t c = 0; best != k && c < n; ++c) {
            const real swap = a[k * n + c], other = x[k * n + c];
            a[k * n + c] = a[best * n + c];
            a[best * n + c] = swap;
            x[k * n + c] = x[best * n + c];
            x[best * n + c] = other;
        }
        const real pivot = a[k * n + k];
        for (int64_t c = 0; c < n; ++c) {
            a[k * n + c] /= pivot;
            x[k * n + c] /= pivot;
        }
        for (int64_t r = 0; r < n; ++r) {
            const real factor = r == k ? 0 : a[r * n + k];
            for (int64_t c = 0; c < n; ++c) {
                a[r * n + c] -= factor * a[k * n + c];
                x[r * n + c] -= factor * x[k * n + c];
            }
        }
    }
}

/* X = A B / k, and to that is added C D / k if C is given. */
static inline void recc_product(
    int64_t n, const real *a, const real *b, const real *c, const real *d, real k, real *x) {
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) {
            real sum = 0;
            for (int64_t l = 0; l < n; ++l) sum += a[i * n + l] * b[l * n + j];
            for (int64_t l = 0; c && l < n; ++l) sum += c[i * n + l] * d[l * n + j];
            x[i * n + j] = sum / k;
        }
}

/* exp(A) by squaring a Taylor sum of degree 18 at norm 1/2. If E is given, also the derivative D in its direction,
 * taken along in every step: d(T A) = T E + dT A, d(X X) = X D + D X. A and E are overwritten.
 * Source: Higham, Functions of Matrices, 2008, sections 3.2 and 10.6. */
static inline void recc_expm_along(int64_t n, real *a, real *e, real *x, real *d) {
    const int64_t size = n * n;
    real norm = 0;
    for (int64_t r = 0; r < n; ++r) {
        real sum = 0;
        for (int64_t c = 0; c < n; ++c) sum += recc_abs(a[r * n + c]);
        norm = norm > sum ? norm : sum;
    }
    int64_t squarings = 0;
    while (norm > (real)0.5 && squarings < 1024) {
        norm *= (real)0.5;
        ++squarings;
    }
    const real scale = RECC_FN(ldexp)((real)1, (int)-squarings);
    real term[size > 0 ? size : 1], slope[size > 0 ? size : 1], next[size > 0 ? size : 1];
    for (int64_t i = 0; i < size; ++i) {
        a[i] *= scale;
        term[i] = x[i] = i / n == i % n;
        if (e) e[i] *= scale, slope[i] = d[i] = 0;
    }
    for (int64_t k = 1; k <= 18; ++k) {
        if (e) {
            recc_product(n, slope, a, term, e, (real)k, next);
            for (int64_t i = 0; i < size; ++i) d[i] += slope[i] = next[i];
        }
        recc_product(n, term, a, 0, 0, (real)k, next);
        for (int64_t i = 0; i < size; ++i) x[i] += term[i] = next[i];
    }
    for (; squarings > 0; --squarings) {
        if (e) {
            recc_product(n, x, d, d, x, (real)1, next);
            for (int64_t i = 0; i < size; ++i) d[i] = next[i];
        }
        recc_product(n, x, x, 0, 0, (real)1, next);
        for (int64_t i = 0; i < size; ++i) x[i] = next[i];
    }
}

static inline void recc_expm(int64_t n, const real *a, real *x) {
    real own[n > 0 ? n * n : 1];
    for (int64_t i = 0; i < n * n; ++i) own[i] = a[i];
    recc_expm_along(n, own, 0, x, 0);
}

/* The gradient of sum(G * exp(A)) by A: the derivative at the transpose of A in the direction G. */
static inline void recc_expm_vjp(int64_t n, const real *a, const real *g, real *x) {
    real own[n > 0 ? n * n : 1], along[n > 0 ? n * n : 1], power[n > 0 ? n * n : 1];
    for (int64_t r = 0; r < n; ++r)
        for (int64_t c = 0; c < n; ++c) {
            own[r * n + c] = a[c * n + r];
            along[r * n + c] = g[r * n + c];
        }
    recc_expm_along(n, own, along, power, x);
}

#endif
