//! The error a client sees: an SQLSTATE, a sentence, and the fields programs match on.

use std::fmt;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The SQLSTATE codes LodeDB raises (PostgreSQL's appendix A).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SqlState { $($(#[$doc])* #[doc = $code] $name,)* }
        impl SqlState {
            /// The five characters of the code.
            pub fn code(self) -> &'static str { match self { $(Self::$name => $code,)* } }
        }
    };
}

states! {
    SuccessfulCompletion = "00000",
    Warning = "01000",
    PrivilegeNotRevoked = "01006",
    PrivilegeNotGranted = "01007",
    InvalidGrantor = "0L000",
    InvalidGrantOperation = "0LP01",
    ProtocolViolation = "08P01",
    FeatureNotSupported = "0A000",
    CardinalityViolation = "21000",
    DataException = "22000",
    StringDataRightTruncation = "22001",
    StringDataLengthMismatch = "22026",
    SequenceLimitExceeded = "2200H",
    NullValueNotAllowed = "22004",
    NumericValueOutOfRange = "22003",
    InvalidDatetimeFormat = "22007",
    DatetimeFieldOverflow = "22008",
    InvalidTimeZoneDisplacementValue = "22009",
    SubstringError = "22011",
    DivisionByZero = "22012",
    IntervalFieldOverflow = "22015",
    CharacterNotInRepertoire = "22021",
    InvalidParameterValue = "22023",
    InvalidTextRepresentation = "22P02",
    InvalidBinaryRepresentation = "22P03",
    BadCopyFileFormat = "22P04",
    UntranslatableCharacter = "22P05",
    ArraySubscriptError = "2202E",
    InvalidRegularExpression = "2201B",
    InvalidArgumentForLogarithm = "2201E",
    InvalidArgumentForWidthBucket = "2201G",
    InvalidArgumentForPowerFunction = "2201F",
    InvalidRowCountInLimitClause = "2201W",
    InvalidRowCountInResultOffsetClause = "2201X",
    NotNullViolation = "23502",
    ForeignKeyViolation = "23503",
    UniqueViolation = "23505",
    CheckViolation = "23514",
    ActiveSqlTransaction = "25001",
    ReadOnlySqlTransaction = "25006",
    NoActiveSqlTransaction = "25P01",
    InFailedSqlTransaction = "25P02",
    IdleInTransactionSessionTimeout = "25P03",
    InvalidSqlStatementName = "26000",
    InvalidAuthorizationSpecification = "28000",
    InvalidPassword = "28P01",
    DependentObjectsStillExist = "2BP01",
    GeneratedAlways = "428C9",
    ReservedName = "42939",
    InvalidTransactionTermination = "2D000",
    InvalidCursorName = "34000",
    InvalidSavepointSpecification = "3B001",
    InvalidCatalogName = "3D000",
    InvalidSchemaName = "3F000",
    SerializationFailure = "40001",
    DeadlockDetected = "40P01",
    SyntaxError = "42601",
    InsufficientPrivilege = "42501",
    GroupingError = "42803",
    DatatypeMismatch = "42804",
    WrongObjectType = "42809",
    CannotCoerce = "42846",
    UndefinedFunction = "42883",
    UndefinedColumn = "42703",
    UndefinedTable = "42P01",
    UndefinedParameter = "42P02",
    UndefinedObject = "42704",
    DuplicateColumn = "42701",
    DuplicateObject = "42710",
    DuplicateTable = "42P07",
    DuplicateSchema = "42P06",
    DuplicatePreparedStatement = "42P05",
    DuplicateCursor = "42P03",
    DuplicateAlias = "42712",
    AmbiguousColumn = "42702",
    AmbiguousFunction = "42725",
    InvalidColumnReference = "42P10",
    InvalidTableDefinition = "42P16",
    InvalidObjectDefinition = "42P17",
    WindowingError = "42P20",
    IndeterminateDatatype = "42P18",
    DiskFull = "53100",
    OutOfMemory = "53200",
    TooManyConnections = "53300",
    ConfigurationLimitExceeded = "53400",
    ProgramLimitExceeded = "54000",
    StatementTooComplex = "54001",
    TooManyColumns = "54011",
    CantChangeRuntimeParam = "55P02",
    ObjectInUse = "55006",
    ObjectNotInPrerequisiteState = "55000",
    LockNotAvailable = "55P03",
    QueryCanceled = "57014",
    AdminShutdown = "57P01",
    CannotConnectNow = "57P03",
    IdleSessionTimeout = "57P05",
    IoError = "58030",
    InternalError = "XX000",
    DataCorrupted = "XX001",
}

impl SqlState {
    /// What a call on the system that failed means for a client: no room, no memory, or neither.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull,
            ErrorKind::OutOfMemory => Self::OutOfMemory,
            _ => Self::IoError,
        }
    }
}

/// The result of anything that can fail in front of a client.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// An error as PostgreSQL's protocol carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlError(Box<Fields>);

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    state: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<u32>,
    context: Option<String>,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

impl SqlError {
    /// An error with its code and sentence.
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Fields {
            state,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            table: None,
            column: None,
            constraint: None,
        }))
    }
    /// `0A000`: something PostgreSQL has and LodeDB does not, named.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlState::FeatureNotSupported, format!("{what} is not supported"))
    }
    /// `XX000`: a broken promise of our own.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new(SqlState::InternalError, what.to_string())
    }
    /// Adds the DETAIL line.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }
    /// Takes the DETAIL line away: it tells more than whoever asks may know.
    pub fn without_detail(mut self) -> Self {
        self.0.detail = None;
        self
    }
    /// Adds the HINT line.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
    /// Adds where in the statement: characters, counted from 1.
    pub fn with_position(mut self, position: u32) -> Self {
        self.0.position = Some(position);
        self
    }
    /// Adds the CONTEXT line (COPY names its line here).
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.0.context = Some(context.into());
        self
    }
    /// Names the table concerned.
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.0.table = Some(table.into());
        self
    }
    /// Names the column concerned.
    pub fn with_column(mut self, column: impl Into<String>) -> Self {
        self.0.column = Some(column.into());
        self
    }
    /// Names the constraint concerned.
    pub fn with_constraint(mut self, constraint: impl Into<String>) -> Self {
        self.0.constraint = Some(constraint.into());
        self
    }
    /// The SQLSTATE.
    pub fn state(&self) -> SqlState {
        self.0.state
    }
    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The DETAIL line.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
    /// The HINT line.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
    /// Where in the statement: characters, counted from 1.
    pub fn position(&self) -> Option<u32> {
        self.0.position
    }
    /// The CONTEXT line.
    pub fn context(&self) -> Option<&str> {
        self.0.context.as_deref()
    }
    /// The table concerned.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }
    /// The column concerned.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }
    /// The constraint concerned.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.0.message, self.0.state.code())
    }
}

impl std::error::Error for SqlError {}
