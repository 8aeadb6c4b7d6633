//! One reader of answers for all systems: where an answer says the place is, whatever it is written in.
//!
//! 1. What the model thinks is no answer: between `<think>` and `</think>`, before a `</think>` whose beginning stands in the
//!    prompt, in lines after `Thought:` ([`thinking`]).
//! 2. The rest is a tree of numbers, words, strings, brackets, calls and tags ([`tree`]), read without failing: quotes within
//!    strings, missing brackets, commas too many, full-width digits and an end that was cut off are as common as well-formed
//!    answers. What a string says is no place.
//! 3. The tree's places are candidates ([`places`]). Those that a key, a tag or a call says are places go before four bare numbers
//!    in brackets, and these before two. Of the best, those of the last list count, of which the first is the likeliest; the
//!    numbers of one that breaks off are none. An empty list, `null`, `"found": false` and words that nothing is there say that
//!    the thing is absent.
//! 4. The numbers are on the system's scale ([`scale`]), or refused.

mod places;
mod scale;
mod thinking;
mod tree;
mod verbs;
mod words;

use places::{Candidate, Found, Places, Problem, Rank};
pub(super) use scale::Scale;
pub(super) use thinking::without_tags;
use verbs::{Deed, Verb};

use super::{Action, Direction, GroundingError, PixelBox, Target};

/// What an answer says to do, its place on `scale`.
///
/// # Errors
/// [`GroundingError`] with the answer.
pub(super) fn read(answer: &str, scale: Scale) -> Result<Action<PixelBox>, GroundingError> {
    let said = thinking::without_thoughts(&without_tags(answer));
    let places = places::find(&said);
    let text = || answer.to_owned();
    let denied = words::deny(&said);
    match choose(&places, denied && !words::go_on(&said)) {
        Some(Candidate { found: Ok(found), deed, label, .. }) => match found {
            Found::Absent => Ok(Action::Absent),
            Found::End => Ok(Action::End),
            Found::Place { numbers, fractions } => match scale.place(numbers, *fractions, answer)? {
                Some(region) => action(Target { element_info: label.clone(), ..Target::at(region) }, deed, answer),
                None => Ok(Action::Absent),
            },
        },
        None if denied => Ok(Action::Absent),
        Some(Candidate { found: Err(problem), .. }) => Err(match problem.clone() {
            Problem::Count(numbers) => GroundingError::Count { numbers, text: text() },
            Problem::NoCoordinates(found) => GroundingError::NoCoordinates { found, text: text() },
            Problem::NoPlace(operation) => GroundingError::NoPlace { operation, text: text() },
            Problem::Cut => GroundingError::Cut { text: text() },
        }),
        // Lists that have nothing in them.
        None if places.empty > 0 && places.candidates.is_empty() && !said.contains(char::is_alphanumeric) => {
            Ok(Action::Absent)
        }
        None if places.empty > 0 && only_lists(&said) => Ok(Action::Absent),
        None => Err(GroundingError::NoBox { text: text() }),
    }
}

/// Whether nothing but a fence's language stands beside the lists.
fn only_lists(said: &str) -> bool {
    let words = said.split(|it: char| !it.is_alphanumeric()).filter(|word| !word.is_empty());
    words.into_iter().all(|word| matches!(word.to_ascii_lowercase().as_str(), "json" | "answer" | "bbox" | "action"))
}

/// The candidate that counts. Two bare numbers are no place where words deny that there is one.
fn choose(places: &Places, denied: bool) -> Option<&Candidate> {
    let all = &places.candidates;
    for rank in [Rank::Said, Rank::Box, Rank::Point] {
        if rank == Rank::Point && denied {
            return None;
        }
        let of_rank = || all.iter().filter(move |candidate| candidate.rank == rank);
        let whole = || of_rank().filter(|candidate| candidate.found.is_ok());
        if let Some(last) = whole().next_back() {
            return whole().find(|candidate| candidate.group == last.group);
        }
        if let Some(problem) = of_rank().next_back()
            && (rank != Rank::Box || !all.iter().any(|it| it.rank == Rank::Point && it.found.is_ok()))
        {
            return Some(problem);
        }
    }
    None
}

/// What is to be done at a place.
fn action(target: Target<PixelBox>, deed: &Deed, answer: &str) -> Result<Action<PixelBox>, GroundingError> {
    let text = || answer.to_owned();
    let name = || deed.name.clone().unwrap_or_default();
    let argument =
        |argument, expected| GroundingError::Argument { operation: name(), argument, expected, text: text() };
    let written = || deed.text.clone().ok_or_else(|| argument("text", "a string"));
    Ok(match deed.verb {
        None | Some(Verb::Click | Verb::End | Verb::Absent) => Action::Click(target),
        Some(Verb::DoubleClick) => Action::DoubleClick(target),
        Some(Verb::RightClick) => Action::RightClick(target),
        Some(Verb::Hover) => Action::Hover(target),
        Some(Verb::Type) => Action::Type { target, text: written()? },
        Some(Verb::Select) => Action::Select { target, text: written()? },
        Some(Verb::Scroll) => {
            let direction: Direction =
                deed.direction.ok_or_else(|| argument("direction", "up, down, left or right"))?;
            // Most models have no such number: the least that scrolls.
            Action::Scroll { target, direction, steps: deed.steps.unwrap_or(1) }
        }
        Some(Verb::Elsewhere | Verb::Unknown) => {
            return Err(GroundingError::UnknownOperation { name: name(), text: text() });
        }
    })
}

#[cfg(test)]
mod tests;
