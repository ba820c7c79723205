// Package verdict decides whether a candidate version passes. It looks at results: what live, the candidate and the
// baseline (a second copy of the live version) made of one record or request. It is pure: no input, output, clock or
// chance. What it says depends on nothing but the policy and the counts, in whatever order these came.
//
// # What is tested
//
// For each result let X be 1 if the candidate alone differs from live, -1 if the baseline alone does, and 0 if both or
// neither do. The mean of X is the excess:
//
//	excess = P(candidate differs) - P(baseline differs)
//
// If the versions are the same, candidate and baseline may change places, so the excess is 0, however noisy the service
// is. Pairs in which both or neither differ say nothing about it (McNemar, Psychometrika 12, 1947).
//
// # How it is tested
//
// To refute the claim "the mean of X is at least l", a gambler starts with a capital of 1 and bets against it. With a
// bet of size g between 0 and 1, each result multiplies the capital by
//
//	1 + g (l - X) / (1 - l)
//
// which is never negative. If the claim is true the factor's expectation is at most 1, given all that came before. So
// the capital is a supermartingale, and so is a mixture of gamblers whose shares were fixed beforehand (Robbins, Ann.
// Math. Statist. 41, 1970). Ville's inequality (1939) says that a capital which starts at 1 and is expected not to grow
// ever reaches 1/alpha with probability alpha at most. This holds at all moments together: one may look after every
// result and stop at will. For bounded means this is Waudby-Smith and Ramdas, "Estimating means of bounded random
// variables by betting", J. R. Stat. Soc. B 86, 2024 (arXiv 2010.09686). Sequential tests of deployments in practice:
// Lindon, Sanden and Shirikian, KDD 2022 (arXiv 2205.14762).
//
// The claim "the mean is at most l" is refuted in the same way with -X and -l. All l that are not refuted are a
// confidence sequence for the excess.
//
// Nine tenths of the capital are spread over the bets as Beta(Prior, 1): a gambler who expects hardly any difference,
// so that few are enough. Where the baseline never differs, a bet g is the likelihood ratio of the rates l(1-g) and l.
// The mixture is then the beta-binomial one with the rate l·Beta(1, Prior), which is close to Beta(1, Prior/l). In a
// test of "the mean is at most 0" a bet g is the likelihood ratio, among pairs in which one side alone differs, of a
// chance of (1+g)/2 against 1/2. One tenth is spread evenly over the orders of magnitude of bets down to 2^-16, for
// noisy services: there the best bet is about excess/noise. Both are sums over fixed bets, so no rule of integration is
// involved, and the sum is a supermartingale itself.
//
// # What passes and what fails
//
// A pass and a fail are statements of their own, each proved at its level:
//
//   - pass: the excess is below the tolerance. The claim "it is at least the tolerance" is refuted at alpha.
//   - fail: the excess is above 0. The claim "it is at most 0" is refuted at a share of alpha, and the pass is not
//     proved.
//   - inconclusive: neither is proved.
//
// Identical versions ever fail with probability alpha at most. A candidate whose excess is the tolerance or more ever
// passes with probability alpha at most. For a small excess, above 0 and below the tolerance, both statements are true.
// Then the pass wins as soon as it is proved, because the policy tolerates such an excess. Until then the candidate may
// fail. So a fault in 1 of 1000 results fails at a tolerance of 1 in 1000, too: as soon as the candidate alone differs
// in five results and the baseline alone in none. The capital is then 23.5, and 1/alpha is 22.2 with the default
// policy's share.
//
// A verdict is of all results so far, and more of them may change it. These probabilities are for a caller who acts
// upon the first verdict, and also for a caller who chooses by the results when to stop.
//
// A result that a side lacks, or that is an error there and not in live, is one that differs.
//
// # Several conditions
//
// A pass needs all conditions, so each is tested at alpha (intersection-union test: Berger, Technometrics 24, 1982). A
// fail needs one, so alpha is split among those that can fail (union bound), as in shares. Kinds have one of these
// shares, split evenly over as many kinds as the policy has places for. Evidence of a fault grows exponentially with
// the results that show it, so a hundredth of alpha costs about seven such results.
//
// A kind of results has its own, wider tolerance for a pass. A fault that is one of a rare kind's alone must not hide
// behind the many results of other kinds, and a rare kind cannot have thousands of results. One of less than the policy's
// share that has no excess holds up no pass: else a kind that comes up once a day would hold up all.
//
// # What is assumed
//
// The expectation above is given the past, so results need not be alike: rates may change with the time or the load.
// But if the versions are the same, the candidate must not be more likely than the baseline to differ in the next
// result, given all results before. Hence a difference that follows from an earlier one must not be given to Observe as
// a result of its own. For latencies: the chance that one is above the quantile must be the quantile's, given those
// before.
package verdict
