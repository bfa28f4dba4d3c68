//! Enums that are stored as text or as a number: one place prints and reads each.

use std::fmt;

/// A stored value that the code does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{column} holds {found}, which is no {type_name}")]
pub struct UnknownValue {
    /// Table and column.
    column: &'static str,
    /// What the column holds.
    found: String,
    /// Name of the type that it is read as.
    type_name: &'static str,
}

/// The value among `all` that is stored as `found` in `column`.
///
/// # Errors
/// `UnknownValue` if there is none: a row that this version can't read stops its caller, instead of becoming another
/// value.
pub fn stored<T: Copy, S: PartialEq + fmt::Debug>(
    all: &[T],
    printed: fn(T) -> S,
    found: &S,
    column: &'static str,
) -> Result<T, UnknownValue> {
    let known = all.iter().copied().find(|it| printed(*it) == *found);
    known.ok_or_else(|| UnknownValue {
        column,
        found: format!("{found:?}"),
        type_name: std::any::type_name::<T>(),
    })
}

/// Stores a type as text: `stored_as_text!(Type, "schema.table.column")`.
///
/// The type is `Copy`, and has `const ALL` (an array or a slice of every value) and
/// `fn as_str(self) -> &'static str`. It can then be read from a column by sqlx, through `[macros.table-overrides]` in
/// `sqlx.toml`, and bound as a parameter. A text that no value has is an error that names the column and the text. The
/// caller depends on `sqlx`; the file that declares the type need not know it, as the macro is invoked in `store`.
#[macro_export]
macro_rules! stored_as_text {
    ($type:ty, $column:literal) => {
        impl ::sqlx::Type<::sqlx::Postgres> for $type {
            fn type_info() -> ::sqlx::postgres::PgTypeInfo {
                <&str as ::sqlx::Type<::sqlx::Postgres>>::type_info()
            }

            fn compatible(found: &::sqlx::postgres::PgTypeInfo) -> bool {
                <&str as ::sqlx::Type<::sqlx::Postgres>>::compatible(found)
            }
        }

        impl ::sqlx::postgres::PgHasArrayType for $type {
            fn array_type_info() -> ::sqlx::postgres::PgTypeInfo {
                <&str as ::sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        impl<'r> ::sqlx::Decode<'r, ::sqlx::Postgres> for $type {
            fn decode(
                value: ::sqlx::postgres::PgValueRef<'r>,
            ) -> ::std::result::Result<Self, ::sqlx::error::BoxDynError> {
                let text = <&str as ::sqlx::Decode<'r, ::sqlx::Postgres>>::decode(value)?;
                let all: &[Self] = &Self::ALL;
                let known = $crate::stored(all, Self::as_str, &text, $column)?;
                ::std::result::Result::Ok(known)
            }
        }

        impl<'q> ::sqlx::Encode<'q, ::sqlx::Postgres> for $type {
            fn encode_by_ref(
                &self,
                buffer: &mut ::sqlx::postgres::PgArgumentBuffer,
            ) -> ::std::result::Result<::sqlx::encode::IsNull, ::sqlx::error::BoxDynError> {
                <&str as ::sqlx::Encode<'_, ::sqlx::Postgres>>::encode_by_ref(
                    &self.as_str(),
                    buffer,
                )
            }
        }
    };
}

/// Stores a type as a `smallint`: `stored_as_number!(Type, "schema.table.column")`.
///
/// As [`stored_as_text`](crate::stored_as_text), for a type with `const ALL` and `fn number(self) -> i16`.
#[macro_export]
macro_rules! stored_as_number {
    ($type:ty, $column:literal) => {
        impl ::sqlx::Type<::sqlx::Postgres> for $type {
            fn type_info() -> ::sqlx::postgres::PgTypeInfo {
                <i16 as ::sqlx::Type<::sqlx::Postgres>>::type_info()
            }
        }

        impl<'r> ::sqlx::Decode<'r, ::sqlx::Postgres> for $type {
            fn decode(
                value: ::sqlx::postgres::PgValueRef<'r>,
            ) -> ::std::result::Result<Self, ::sqlx::error::BoxDynError> {
                let found = <i16 as ::sqlx::Decode<'r, ::sqlx::Postgres>>::decode(value)?;
                let all: &[Self] = &Self::ALL;
                let known = $crate::stored(all, Self::number, &found, $column)?;
                ::std::result::Result::Ok(known)
            }
        }

        impl<'q> ::sqlx::Encode<'q, ::sqlx::Postgres> for $type {
            fn encode_by_ref(
                &self,
                buffer: &mut ::sqlx::postgres::PgArgumentBuffer,
            ) -> ::std::result::Result<::sqlx::encode::IsNull, ::sqlx::error::BoxDynError> {
                <i16 as ::sqlx::Encode<'_, ::sqlx::Postgres>>::encode_by_ref(&self.number(), buffer)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Light {
        Red,
        Green,
    }

    impl Light {
        const ALL: [Self; 2] = [Self::Red, Self::Green];

        fn as_str(self) -> &'static str {
            match self {
                Self::Red => "RED",
                Self::Green => "GREEN",
            }
        }

        fn number(self) -> i16 {
            match self {
                Self::Red => 1,
                Self::Green => 2,
            }
        }
    }

    stored_as_text!(Light, "traffic.lights.colour");

    #[test]
    fn a_number_without_a_value_is_named_with_its_column() {
        let read = |number| stored(&Light::ALL, Light::number, number, "traffic.lights.colour");
        assert_eq!(read(&2), Ok(Light::Green));
        let error = read(&3).unwrap_err().to_string();
        assert!(
            error.starts_with("traffic.lights.colour holds 3,"),
            "{error}"
        );
    }

    #[test]
    fn a_text_without_a_value_is_named_with_its_column() {
        let read = |text| stored(&Light::ALL, Light::as_str, text, "traffic.lights.colour");
        assert_eq!(read(&"GREEN"), Ok(Light::Green));
        let error = read(&"green").unwrap_err().to_string();
        assert!(
            error.starts_with("traffic.lights.colour holds \"green\""),
            "{error}"
        );
    }
}
